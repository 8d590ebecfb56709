"""From clips on disk to batches."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import tiny
import torch
from recordings import DAMAGED, ODD

from audio_lightning.audio import fit_length, load, resample, to_mono
from audio_lightning.config import build, compose, quote_paths
from audio_lightning.config.targets import grouped
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.batches import Draw, EpochSampler
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.opening import examine
from audio_lightning.data.problems import ProblemsError


def datamodule(root: Path, *overrides: str) -> AudioDataModule:
    settings = ["data=urbansound8k", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    ready = build(compose(quote_paths([*settings, *overrides])).data, AudioDataModule, where="data")
    ready.setup()
    return ready


@pytest.mark.parametrize("padding", ["zero", "repeat", "reflect"])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_hold_the_clips(tiny_urbansound8k: Path, padding: str, workers: int) -> None:
    ready = datamodule(tiny_urbansound8k, f"data.padding={padding}", "data.batch_size=4", f"data.num_workers={workers}")
    seen = []
    for batch in ready.test_dataloader():
        for index, row in enumerate(batch["clip"].tolist()):
            clip = ready.manifest.table.iloc[row]
            samples = load(tiny_urbansound8k / clip["path"], 8000)
            np.testing.assert_array_equal(batch["waveform"][index], fit_length(samples, 2000, padding))
            assert batch["length"][index] == len(samples)
            assert ready.task.classes[batch["target"][index]] == clip["label"]
            assert clip["split"] == "test"
            seen.append(row)
    assert seen == ready.manifest.rows("test").tolist()


@pytest.mark.parametrize(
    ("clips", "batch_size", "sizes"), [(9, 4, [4, 4]), (9, 3, [3, 3, 3]), (9, 5, [5, 4]), (9, 99, [9])]
)
def test_no_training_batch_of_one(tmp_path: Path, clips: int, batch_size: int, sizes: list[int]) -> None:
    root = tiny.write_urbansound8k(tmp_path, folds=3, clips=clips // 3)
    loader = datamodule(root, f"data.batch_size={batch_size}").train_dataloader()
    assert [len(batch["clip"]) for batch in loader] == sizes


def test_every_training_clip_once_an_epoch(tiny_urbansound8k: Path) -> None:
    ready = datamodule(tiny_urbansound8k, "data.batch_size=4")
    rows = [row for batch in ready.train_dataloader() for row in batch["clip"].tolist()]
    assert sorted(rows) == ready.manifest.rows("train").tolist()
    assert rows != sorted(rows)


def test_statistics_are_taken_from_different_training_clips(tiny_urbansound8k: Path) -> None:
    ready = datamodule(tiny_urbansound8k, "data.batch_size=4")
    batches = list(ready.sample_waveforms(6, seed=0))
    assert [len(batch) for batch in batches] == [4, 2]
    assert len({clip.numpy().tobytes() for batch in batches for clip in batch}) == 6
    assert sum(len(batch) for batch in ready.sample_waveforms(10_000, seed=0)) == len(ready.manifest.rows("train"))


def test_the_order_follows_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed=seed, shuffle=True)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert sorted(order(1, 2)) == list(range(50))
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert list(EpochSampler(5, seed=3, shuffle=False)) == [0, 1, 2, 3, 4]


def test_clips_need_setup(tiny_urbansound8k: Path) -> None:
    config = compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}"]))
    with pytest.raises(RuntimeError, match=r"setup\(\)"):
        _ = build(config.data, AudioDataModule, where="data").task


def replace_a_recording(root: Path, name: str) -> Path:
    """Give a training clip another file name, to be written by the test."""
    table = root / "metadata/UrbanSound8K.csv"
    table.write_text(table.read_text().replace("2000-0-0-0.wav", name))
    return root / "audio/fold2" / name


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_recording_is_named_before_training(tmp_path: Path, kind: str) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    reason = DAMAGED[kind](replace_a_recording(root, kind))
    with pytest.raises(ProblemsError, match=re.escape(reason)) as caught:
        datamodule(root)
    assert [problem.where for problem in caught.value.problems] == [f"audio/fold2/{kind}"]


@pytest.mark.parametrize("kind", ODD)
def test_odd_recording_is_read_correctly(tmp_path: Path, kind: str) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    expected = ODD[kind](replace_a_recording(root, kind))
    ready = datamodule(root)
    row = list(ready.manifest.table["path"]).index(f"audio/fold2/{kind}")
    batch = next(batch for batch in ready.train_dataloader() if row in batch["clip"])
    position = batch["clip"].tolist().index(row)
    mono = resample(to_mono(expected.samples), expected.sample_rate, 8000)[:2000]
    assert batch["length"][position] == len(mono)
    found = batch["waveform"][position, : len(mono)].numpy()
    np.testing.assert_allclose(found, mono, atol=2 * expected.tolerance + 1e-6)


def test_split_with_only_unreadable_recordings_is_an_error(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    for path in (root / "audio/fold4").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no clip of the test split can be read"):
        datamodule(root, "data.bad_recordings=skip")


def test_silence_in_place_of_a_bad_recording(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    (root / "audio/fold4/4000-0-0-0.wav").write_bytes(b"")
    ready = datamodule(root, "data.bad_recordings=silence")
    (batch,) = ready.test_dataloader()
    assert not batch["waveform"][0].any()
    assert batch["waveform"][1:].any(dim=1).all()
    assert [problem.where for problem in ready.problems] == ["audio/fold4/4000-0-0-0.wav"]


def test_the_competition_cannot_exclude_leakage(tmp_path: Path) -> None:
    root = tiny.write_urbansound(tmp_path)
    config = compose(quote_paths(["data=urbansound", f"data.root={root}", "data.sample_rate=8000"]))
    ready = build(config.data, AudioDataModule, where="data")
    ready.setup()
    assert ready.leakage == "cannot be excluded"
    assert {split: len(ready.manifest.rows(split)) for split in ("train", "validation", "test")} == {
        "train": 21,
        "validation": 3,
        "test": 6,
    }


def test_recordings_below_other_rates_are_resampled(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    path = root / "audio/fold4/4000-0-0-0.wav"
    time = np.arange(4410) / 44100
    soundfile.write(path, np.stack([np.sin(2 * np.pi * 440 * time), np.zeros(4410)], axis=1), 44100)
    (batch,) = datamodule(root).test_dataloader()
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / 8000)
    np.testing.assert_allclose(batch["waveform"][0, 100:700], expected[100:700], atol=2e-3)
    assert batch["length"][0] == 800


class InTheMiddle(AudioDataModule):
    """A custom source: recordings of a folder with labels, groups and other columns from the test."""

    columns: dict[str, list]
    separator: str | None = None

    def read(self) -> Manifest:
        table = pd.DataFrame({"path": sorted(path.name for path in self.root.iterdir()), **self.columns})
        labels = table["label"] if self.separator is None else table["label"].str.split(self.separator).explode()
        names = set(labels) - {""}
        return Manifest(self.root, table, tuple(sorted(names)), label_separator=self.separator)


def own(root: Path, columns: dict[str, list], *overrides: str, separator: str | None = None) -> AudioDataModule:
    settings = ["data.sample_rate=8000", "data.clip_seconds=0.1", "data.batch_size=4", "data.split=official"]
    config = compose(quote_paths(["data=urbansound8k", f"data.root={root}", *settings, *overrides])).data
    arguments = {str(key): value for key, value in config.items() if key != "_target_"}
    ready = InTheMiddle(**grouped(InTheMiddle, arguments))
    ready.columns, ready.separator = columns, separator
    return ready


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six recordings of 0.05 to 0.55 s of noise."""
    (tmp_path / "six").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(
            tmp_path / f"six/{number}.wav", rng.uniform(-0.5, 0.5, 400 + 800 * number), 8000, subtype="FLOAT"
        )
    return tmp_path / "six"


SPLIT = ["train", "train", "train", "train", "validation", "test"]


def test_windows_cover_a_recording_and_share_its_label_and_split(six: Path) -> None:
    ready = own(six, {"label": [*"aabbab"], "split": SPLIT}, "data.hop_seconds=0.05")
    ready.setup()
    assert {split: len(ready.numbers(split)) for split in ("train", "validation", "test")} == {
        "train": 1 + 2 + 4 + 6,
        "validation": 8,
        "test": 10,
    }
    assert ready.class_counts("train") == [3, 10]
    whole = load(six / "5.wav", 8000)
    batches = list(ready.test_dataloader())
    windows = np.concatenate([batch["waveform"] for batch in batches])
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(window, fit_length(whole[400 * number :], 800, "zero"))
    assert {int(target) for batch in batches for target in batch["target"]} == {1}


def test_balanced_sampling_draws_classes_with_equal_probability() -> None:
    classes = np.array([0] * 900 + [1] * 90 + [2] * 10)
    sampler = EpochSampler(1000, seed=0, shuffle=True, classes=classes)
    drawn = classes[sampler.order()]
    assert len(drawn) == 1000
    # Each count is binomial with mean 333 and standard deviation 15.
    assert np.bincount(drawn) == pytest.approx([333] * 3, abs=60)
    first = sampler.order()
    np.testing.assert_array_equal(first, sampler.order())
    sampler.set_epoch(1)
    assert (first != sampler.order()).any()


def test_balanced_sampling_is_only_for_training(six: Path) -> None:
    ready = own(six, {"label": [*"aaabbb"], "split": SPLIT}, "data.sampling=balanced", "data.hop_seconds=0.008")
    ready.setup()
    drawn = [int(target) for batch in ready.train_dataloader() for target in batch["target"]]
    counts = ready.class_counts("train")
    assert sum(counts) == len(drawn)
    assert np.bincount(drawn)[0] / len(drawn) == pytest.approx(0.5, abs=0.15)
    assert counts[0] / sum(counts) < 0.5
    tested = [clip for batch in ready.test_dataloader() for clip in batch["clip"].tolist()]
    assert tested == ready.numbers("test").tolist()


def test_background_noise_is_another_stretch_at_another_volume_each_epoch(six: Path) -> None:
    columns = {"label": [*"aaaaaa"], "split": SPLIT, "background": [False, False, True, True, False, True]}
    ready = own(six, columns)
    ready.setup()
    dataset = ready._dataset("train")
    noise = load(six / "3.wav", 8000)

    def drawn(epoch: int) -> np.ndarray:
        return dataset.batch(Draw(epoch, np.array([3])))["waveform"][0].numpy()

    for epoch in range(20):
        clip = drawn(epoch)
        np.testing.assert_array_equal(clip, drawn(epoch))
        volumes = np.lib.stride_tricks.sliding_window_view(noise, 800)
        gain = np.linalg.norm(clip) / np.linalg.norm(volumes, axis=1)
        assert np.isclose(volumes * gain[:, None], clip, atol=1e-6).all(axis=1).any(), "it is no stretch of the noise"
        assert 0 <= gain.min() <= 1
    assert len({drawn(epoch).tobytes() for epoch in range(20)}) == 20
    np.testing.assert_array_equal(dataset.batch(Draw(0, np.array([0])))["waveform"][0, :400], load(six / "0.wav", 8000))
    (first,), (second,) = list(ready.test_dataloader()), list(ready.test_dataloader())
    np.testing.assert_array_equal(first["waveform"], second["waveform"])


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_resident_clips_are_the_same_clips(six: Path, dtype: str) -> None:
    columns = {"label": [*"aabbab"], "split": SPLIT[::-1], "background": [False] * 5 + [True]}
    batches = []
    for resident in ("false", "true"):
        ready = own(six, columns, f"data.resident={resident}", "data.hop_seconds=0.05", f"data.cache_dtype={dtype}")
        ready.setup()
        loader = ready.train_dataloader()
        batches.append([ready.transfer_batch_to_device(batch, torch.device("cpu"), 0) for batch in loader])
    assert len(batches[0]) == len(batches[1]) > 3
    for ours, theirs in zip(*batches):
        assert ours.keys() == theirs.keys() == {"waveform", "target", "length", "clip"}
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


def test_resident_auto_needs_a_gpu(six: Path) -> None:
    ready = own(six, {"label": [*"aabbab"], "split": SPLIT})
    ready.setup()
    assert "waveform" in next(iter(ready.train_dataloader()))


def test_several_labels_a_clip(six: Path) -> None:
    ready = own(six, {"label": ["a|b", "", "b", "c", "a", "a|c"], "split": SPLIT}, separator="|")
    ready.setup()
    assert ready.task.multilabel
    assert ready.class_counts("train") == [1, 2, 1]
    (batch,) = ready.test_dataloader()
    assert batch["target"].dtype == torch.float32
    assert batch["target"].tolist() == [[1, 0, 1]]
    assert ready.match_classes(["C", "d", "a"]) == ["b"]
    (batch,) = ready.test_dataloader()
    assert batch["target"].tolist() == [[1, 0, 1]]
    assert own(six, {"label": [*"aabbab"], "split": SPLIT}).hop_samples is None


def test_multilabel_clips_cannot_be_balanced(six: Path) -> None:
    columns = {"label": ["a|b", "", "b", "c", "a", "a|c"], "split": SPLIT}
    ready = own(six, columns, "data.sampling=balanced", separator="|")
    ready.setup()
    with pytest.raises(ConfigError, match=r"data\.sampling=balanced: needs one label per clip"):
        ready.train_dataloader()


def test_part_after_the_end_is_a_problem(six: Path) -> None:
    columns = {"label": [*"aabbab"], "split": SPLIT, "start_seconds": [0.0, 0.01, 0.9, 0.0, 0.0, 0.0]}
    with pytest.raises(ProblemsError, match=r"2\.wav: its clip begins at 0\.9 s, after the end of .* at 0\.250 s"):
        own(six, columns).setup()
    ready = own(six, columns, "data.bad_recordings=skip")
    ready.setup()
    assert list(ready.manifest.table["path"]) == ["0.wav", "1.wav", "3.wav", "4.wav", "5.wav"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sample_rate=0", r"data\.sample_rate=0: expected more than 0"),
        ("data.sample_rate=16", r"data\.sample_rate=16: expected Hz, such as 16000 for 16 kHz"),
        ("data.clip_seconds=nan", r"data\.clip_seconds=nan: expected a finite number of seconds"),
        ("data.hop_seconds=inf", r"data\.hop_seconds=inf: expected a finite number of seconds"),
        ("data.hop_seconds=0.0", r"data\.hop_seconds=0\.0: expected more than 0, or null"),
        ("data.batch_size=-1", r"data\.batch_size=-1"),
    ],
)
def test_invalid_sizes(tiny_urbansound8k: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        datamodule(tiny_urbansound8k, override)


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    folds = [root / f"audio/fold{fold}" for fold in (1, 2, 3, 4)]
    (folds[0] / "1000-0-0-0.wav").write_bytes(b"")
    (folds[1] / "2000-0-0-0.wav").unlink()
    (folds[2] / "3000-0-0-0.wav").write_bytes((folds[3] / "4000-0-0-0.wav").read_bytes())
    table = root / "metadata/UrbanSound8K.csv"
    table.write_text(table.read_text().replace("4001-0-0-2.wav,4001", "4001-0-0-2.wav,3000") + "short,row\n")
    ready = datamodule_unready(root)
    found = examine(ready)
    assert sorted({problem.kind for problem in found.problems}) == ["leak", "missing", "table", "unreadable"]
    leaks = [problem.what for problem in found.problems if problem.kind == "leak"]
    assert leaks[0] == "group 3000: in train and test"
    assert "audio/fold3/3000-0-0-0.wav (train) = audio/fold4/4000-0-0-0.wav (test)" in leaks[1]
    assert found.method == "folds"
    assert found.leakage == "present"
    assert len(found.recording) == len(found.manifest) == 36


def test_impossible_splits_do_not_hide_other_problems(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path, folds=2)
    (root / "audio/fold1/1000-0-0-0.wav").write_bytes(b"")
    found = examine(datamodule_unready(root))
    assert [problem.kind for problem in found.problems] == ["splits", "unreadable"]
    assert found.method is None


def datamodule_unready(root: Path) -> AudioDataModule:
    settings = ["data=urbansound8k", f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    return build(compose(quote_paths(settings)).data, AudioDataModule, where="data")
