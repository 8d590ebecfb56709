"""Rules for settings that are ``auto``, except those of clips."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from data_sources import source

from audio_lightning.config.automatic import AUTOMATIC
from audio_lightning.planning import rules
from audio_lightning.planning.rules import RULES, Facts


class Known(Facts):
    """Facts with given values."""

    def __init__(self, *, clips: int = 500, counts: list[int] | None = None, seconds: float = 1.0) -> None:
        self.train_clips, self.train_counts = clips, counts or [clips]
        self.datamodule = type("Data", (), {"num_samples": round(8000 * seconds), "sample_rate": 8000})()
        self.divided = type("Manifest", (), {"label_separator": None})()


def rule(key: str, facts: Facts, **settled: object) -> object:
    value, why = RULES[key](facts, {name.replace("__", "."): value for name, value in settled.items()})
    assert why
    return value


def test_every_key_has_a_rule_in_the_same_order() -> None:
    assert tuple(RULES) == AUTOMATIC


@pytest.mark.parametrize(("clips", "size"), [(80, 16), (1000, 16), (1001, 32), (19_999, 32), (20_000, 64)])
def test_batches_grow_with_the_data(clips: int, size: int) -> None:
    assert rule("data.batch_size", Known(clips=clips)) == size


@pytest.mark.parametrize(("counts", "drawn"), [([50, 10], "uniform"), ([51, 10], "balanced"), ([], "uniform")])
def test_uneven_classes_are_sampled_evenly(counts: list[int], drawn: str) -> None:
    assert rule("data.sampling", Known(counts=counts)) == drawn


def test_multilabel_clips_are_sampled_uniformly() -> None:
    facts = Known(counts=[1000, 10])
    facts.divided.label_separator = "|"
    assert rule("data.sampling", facts) == "uniform"


@pytest.mark.parametrize(
    ("seconds", "hop", "window"),
    [(0.5, 0.01, 0.025), (1, 0.01, 0.025), (2, 0.016, 0.032), (4, 0.03, 0.06), (10, 0.03, 0.06)],
)
def test_a_clip_has_about_as_many_frames_whatever_its_length(seconds: float, hop: float, window: float) -> None:
    assert rule("feature.hop_seconds", Known(seconds=seconds)) == hop
    assert rule("feature.window_seconds", Known(), feature__hop_seconds=hop) == window


@pytest.mark.parametrize(("window", "bands"), [(0.025, 40), (0.039, 40), (0.04, 64), (0.06, 64)])
def test_longer_windows_have_more_mel_bands(window: float, bands: int) -> None:
    assert rule("feature.n_mels", Known(), feature__window_seconds=window) == bands


def test_the_time_shift_is_a_share_of_the_clip() -> None:
    assert rule("augment.waveform.shift.max_seconds", Known(seconds=4)) == 0.4


@pytest.mark.parametrize(
    ("clips", "size", "wanted", "epochs"),
    [(16, 16, 1000, 150), (566, 16, 1000, 29), (3200, 32, 1000, 10), (3200, 32, 2500, 25), (10**6, 64, 1000, 3)],
)
def test_a_training_has_as_many_steps_whatever_the_data(clips: int, size: int, wanted: int, epochs: int) -> None:
    found = rule("trainer.max_epochs", Known(clips=clips), data__batch_size=size, target_steps=wanted)
    assert found == epochs
    assert epochs in (3, 150) or epochs * (clips // size) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("accelerator", "there", "unit", "chosen"),
    [
        ("cpu", "", "cpu", "bf16-mixed"),
        ("auto", "", "cpu", "bf16-mixed"),
        ("auto", "", "", "32-true"),
        ("auto", "cuda", "cpu", "32-true"),
        ("auto", "cuda", "gpu", "bf16-mixed"),
        ("cuda", "cuda", "gpu", "bf16-mixed"),
        ("cpu", "cuda", "gpu", "32-true"),
        ("auto", "mps", "cpu", "32-true"),
    ],
)
def test_bfloat16_is_chosen_where_the_device_in_use_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, there: str, unit: str, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there == "mps")
    monkeypatch.setattr(rules, "gpu_has_bfloat16", lambda: unit == "gpu")
    monkeypatch.setattr(rules, "cpu_multiplies_bfloat16", lambda: unit == "cpu")
    assert rule("trainer.precision", Known(), trainer__accelerator=accelerator) == chosen


def test_clips_and_classes_are_counted_in_the_training_part(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    facts = Facts(source("urbansound8k", root, "data.clip_seconds=0.25", "data.test_fold=1", "data.validation_fold=2"))
    assert facts.train_clips == 18
    assert facts.train_counts == [6, 6, 6]


def test_windows_are_counted_as_training_cuts_them(tmp_path: Path) -> None:
    root = tiny.write_instruments(tmp_path)
    ready = source("instruments", root, "data.clip_seconds=0.25", "data.hop_seconds=0.1", "data.split=grouped")
    facts = Facts(ready)
    ready.setup()
    assert facts.train_clips == len(ready.numbers("train")) > np.sum(facts.train_counts)
