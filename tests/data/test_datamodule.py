"""From clips on disk to batches."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from recordings import DAMAGED, ODD

from audio_lightning.audio import fit_length, load, resample, to_mono
from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule, EpochSampler
from audio_lightning.data.problems import ProblemsError
from audio_lightning.errors import DataError


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
        for index, row in enumerate(batch["row"].tolist()):
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
    assert [len(batch["row"]) for batch in loader] == sizes


def test_every_training_clip_once_an_epoch(tiny_urbansound8k: Path) -> None:
    ready = datamodule(tiny_urbansound8k, "data.batch_size=4")
    rows = [row for batch in ready.train_dataloader() for row in batch["row"].tolist()]
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


def test_clips_must_be_asked_for_after_setup(tiny_urbansound8k: Path) -> None:
    config = compose(quote_paths(["data=urbansound8k", f"data.root={tiny_urbansound8k}"]))
    with pytest.raises(RuntimeError, match=r"setup\(\)"):
        _ = build(config.data, AudioDataModule, where="data").task


def replace_a_recording(root: Path, name: str) -> Path:
    """Give a training clip another file name, to be written there."""
    table = root / "metadata/UrbanSound8K.csv"
    table.write_text(table.read_text().replace("2000-0-0-0.wav", name))
    return root / "audio/fold2" / name


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_recording_is_named_before_training(tmp_path: Path, kind: str) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    reason = DAMAGED[kind](replace_a_recording(root, kind))
    with pytest.raises(ProblemsError, match=reason) as caught:
        datamodule(root)
    assert [problem.where for problem in caught.value.problems] == [f"audio/fold2/{kind}"]


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_recording_is_read_right(tmp_path: Path, kind: str) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    expected = ODD[kind](replace_a_recording(root, kind))
    ready = datamodule(root)
    row = list(ready.manifest.table["path"]).index(f"audio/fold2/{kind}")
    batch = next(batch for batch in ready.train_dataloader() if row in batch["row"])
    position = batch["row"].tolist().index(row)
    mono = resample(to_mono(expected.samples), expected.sample_rate, 8000)[:2000]
    assert batch["length"][position] == len(mono)
    found = batch["waveform"][position, : len(mono)].numpy()
    np.testing.assert_allclose(found, mono, atol=2 * expected.tolerance + 1e-6)


def test_a_part_whose_every_recording_is_bad_is_said(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    for path in (root / "audio/fold4").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no clip of the test part can be read"):
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
