"""Identity of trials: content counts, locations do not."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf
from tiny_speech import COMMANDS, speech, write_noise, write_words

from audio_lightning.config import build, check_config, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.fingerprints import fingerprints
from audio_lightning.sweeps.identity import canonical_config, setup_hash, trial_hash


def plain(*overrides: str) -> dict[str, Any]:
    config = compose(quote_paths(overrides))
    check_config(config)
    values: Any = OmegaConf.to_container(config, resolve=True)
    return values


def opened(root: Path, *overrides: str) -> AudioDataModule:
    config = compose(quote_paths(["data=urbansound8k", f"data.root={root}", *overrides]))
    datamodule = build(config.data, AudioDataModule, where="data")
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize(
    "override",
    [
        "logger=none",
        "data.cache_dir=/elsewhere",
        "plots=false",
        "data.num_workers=2",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "feature_memory_gb=0.0",
        "callbacks=device_stats",
        "trainer=cpu",
    ],
)
def test_location_and_speed_do_not_change_the_identity(override: str) -> None:
    assert canonical_config(plain(override)) == canonical_config(plain())


@pytest.mark.parametrize(
    "override",
    [
        "model=lstm",
        "feature=mfcc",
        "optimizer.lr=2e-3",
        "seed=1",
        "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed",
        "trainer.devices=2",
        "data.batch_size=8",
        "data.sampling=balanced",
        "data.test_fold=1",
        "loss.label_smoothing=0.1",
        "monitor=validation/loss",
        "compile=true",
        "tuner.lr_find=true",
        "callbacks=ema",
    ],
)
def test_keys_that_change_the_result_change_the_identity(override: str) -> None:
    assert canonical_config(plain(override)) != canonical_config(plain())


def test_searched_values_do_not_change_the_identity() -> None:
    found = ["tuner.lr_find=true", "tuner.scale_batch_size=true"]
    assert canonical_config(plain(*found)) == canonical_config(plain(*found, "optimizer.lr=0.5", "data.batch_size=2"))
    assert canonical_config(plain(found[0])) != canonical_config(plain(found[0], "data.batch_size=2"))


def test_repetitions_share_their_setup() -> None:
    first, second = plain("seed=0", "data.test_fold=1"), plain("seed=1", "data.test_fold=2")
    assert setup_hash(first, "content") == setup_hash(second, "content")
    assert trial_hash(first, "content", "division") != trial_hash(second, "content", "division")
    assert setup_hash(first, "content") != setup_hash(first, "other content")
    assert setup_hash(first, "content") != setup_hash(plain("model=lstm"), "content")


def test_a_time_limit_is_part_of_a_setup_unless_it_is_set_apart() -> None:
    first, second = (plain(f"trainer.max_time='00:00:0{minutes}:00'") for minutes in (1, 2))
    assert setup_hash(first, "content") != setup_hash(second, "content")
    apart = ("trainer.max_time",)
    assert setup_hash(first, "content", apart) == setup_hash(second, "content", apart)


def test_pretrained_weights_count_by_what_is_in_them(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for file, content in zip(files, (b"weights", b"weights", b"others")):
        file.write_bytes(content)
    one, same, other = (canonical_config(plain("model=resnet", f"model.pretrained={file}")) for file in files)
    assert one == same != other


def test_a_moved_copy_is_the_same_and_other_recordings_are_not(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_urbansound8k, copy)
    original = fingerprints(opened(tiny_urbansound8k))
    assert fingerprints(opened(copy)) == original
    recording = next((copy / "audio").rglob("*.wav"))
    samples, rate = soundfile.read(recording)
    soundfile.write(recording, -samples, rate)
    content, division = fingerprints(opened(copy))
    assert content != original[0]
    assert division != original[1]


def test_divisions_differ_by_fold_and_the_content_does_not(tiny_urbansound8k: Path) -> None:
    first, second = (fingerprints(opened(tiny_urbansound8k, f"data.test_fold={fold}")) for fold in (1, 2))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_labels_count(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_urbansound8k, copy)
    table = next((copy / "metadata").glob("*.csv"))
    lines = table.read_text().splitlines()
    relabelled = ",".join([*lines[1].split(",")[:-2], *lines[-1].split(",")[-2:]])
    assert relabelled != lines[1]
    table.write_text("\n".join([lines[0], relabelled, *lines[2:]]) + "\n")
    assert fingerprints(opened(copy))[0] != fingerprints(opened(tiny_urbansound8k))[0]


@pytest.mark.parametrize("override", ["data.sample_rate=4000", "data.cache_dtype=int16", "data.clip_seconds=0.1"])
def test_how_recordings_are_resampled_and_stored_is_a_setting(tiny_urbansound8k: Path, override: str) -> None:
    assert fingerprints(opened(tiny_urbansound8k, override)) == fingerprints(opened(tiny_urbansound8k))
    assert canonical_config(plain(override)) != canonical_config(plain())


def test_a_lossless_copy_is_the_same(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_urbansound8k, copy)
    recording = next((copy / "audio").rglob("*.wav"))
    samples, rate = soundfile.read(recording, dtype="float32")
    soundfile.write(recording, np.stack([samples, samples], axis=1), rate, subtype="FLOAT")
    assert fingerprints(opened(copy)) == fingerprints(opened(tiny_urbansound8k))
    soundfile.write(recording, np.stack([samples, 0 * samples], axis=1), rate, subtype="FLOAT")
    assert fingerprints(opened(copy))[0] != fingerprints(opened(tiny_urbansound8k))[0]
    soundfile.write(recording, samples, rate + 1, subtype="FLOAT")
    assert fingerprints(opened(copy))[0] != fingerprints(opened(tiny_urbansound8k))[0]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten commands, two other words and background noise; read only."""
    root = tmp_path_factory.mktemp("spoken")
    write_words(root, (*COMMANDS, "bed", "cat"), {"train": 2, "validation": 1, "test": 1}, sound=True)
    write_noise(root, sound=True)
    return root


def spoken_fingerprints(root: Path, *overrides: str) -> tuple[str, str]:
    datamodule = speech(root, "data.task=12", *overrides)
    datamodule.setup()
    return fingerprints(datamodule)


@pytest.mark.parametrize("override", ["data.seed=2", "data.unknown_percent=20.0", "data.silence_percent=30.0"])
def test_what_is_drawn_of_the_recordings_is_a_setting(spoken: Path, override: str) -> None:
    content, division = spoken_fingerprints(spoken)
    assert spoken_fingerprints(spoken, override)[0] == content
    assert spoken_fingerprints(spoken, override)[1] != division


def test_all_seeds_share_what_is_decoded(spoken: Path, tmp_path: Path) -> None:
    for seed in range(3):
        spoken_fingerprints(spoken, f"data.seed={seed}", f"data.cache_dir={tmp_path}")
    assert len(Cache(tmp_path).sets()) == 1


@pytest.mark.parametrize("kind", ["bed", "yes", "_background_noise_"])
def test_every_recording_that_may_be_drawn_or_mixed_in_counts(spoken: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(spoken, copy)
    assert spoken_fingerprints(copy) == spoken_fingerprints(spoken)
    for recording in (copy / kind).iterdir():
        samples, rate = soundfile.read(recording)
        soundfile.write(recording, -samples, rate)
    assert spoken_fingerprints(copy)[0] != spoken_fingerprints(spoken)[0]
    assert spoken_fingerprints(copy, "data.seed=1")[0] == spoken_fingerprints(copy)[0]


@pytest.mark.parametrize("key", ["noise_dir", "rir_dir"])
def test_recordings_that_are_mixed_in_count_by_what_is_in_them(tmp_path: Path, key: str) -> None:
    for name, samples in {"a": [0.5, 0.1], "b": [0.5, 0.1], "c": [0.5, 0.2]}.items():
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "recording.wav", samples, 8000)
    one, same, other = (trial_hash(plain(f"{key}={tmp_path / name}"), "content", "division") for name in "abc")
    assert one == same != other
