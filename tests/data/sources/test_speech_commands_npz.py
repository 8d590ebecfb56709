"""Speech Commands in one NumPy archive."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_speech import speech

from audio_lightning.core.errors import AudioError, ConfigError, DataError
from audio_lightning.data.sources import speech_commands_npz as speechcommandsnpz
from audio_lightning.data.store.decoded import prepare

CLASSES = ("no", "silence", "yes")
CLIPS = 12


def waveforms(clips: int = CLIPS, samples: int = 80) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (clips, samples)).astype(np.float32)


def labels(clips: int = CLIPS) -> np.ndarray:
    return np.array([CLASSES[clip % 3] for clip in range(clips)])


def write(folder: Path, name: str = "words.npz", **arrays: Any) -> Path:
    """Write an archive of clips and labels, or of the given arrays."""
    np.savez(folder / name, **{"wav_vals": waveforms(), "label_vals": labels(), **arrays})
    return folder / name


def npz(root: Path, *overrides: str) -> Any:
    return speech(root, "data.clip_seconds=0.01", *overrides, name="speech_commands_npz")


@pytest.mark.parametrize("root", ["", "words.npz"])
def test_the_manifest(tmp_path: Path, root: str) -> None:
    write(tmp_path)
    (tmp_path / "notes.txt").touch()
    datamodule = npz(tmp_path / root)
    manifest = datamodule.read()
    assert manifest.classes == CLASSES
    assert manifest.root == tmp_path
    assert list(manifest.table["path"][:2]) == ["words.npz#0", "words.npz#1"]
    assert list(manifest.table["label"]) == labels().tolist()
    assert not manifest.knows_groups
    assert not manifest.problems
    assert not datamodule.missing(manifest)


def test_samples_reach_the_batches(tmp_path: Path) -> None:
    write(tmp_path, wav_vals=waveforms(30), label_vals=labels(30))
    datamodule = npz(tmp_path, "data.batch_size=64")
    datamodule.setup()
    assert datamodule.leakage == "cannot be excluded"
    assert datamodule.split_method == "stratified"
    assert datamodule.task.num_samples == 80
    batch = next(iter(datamodule.test_dataloader()))
    rows = [int(path.partition("#")[2]) for path in datamodule.manifest.table["path"][datamodule.numbers("test")]]
    np.testing.assert_array_equal(batch["waveform"], waveforms(30)[rows])
    assert [CLASSES[target] for target in batch["target"]] == labels(30)[rows].tolist()


FULL_SCALE = np.array([[-32768, -1, 0, 16384, 32767]])
AS_FLOAT = np.array([-1, -1 / 32768, 0, 0.5, 32767 / 32768], dtype=np.float32)


@pytest.mark.parametrize("three_dimensions", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("stored", "encoding"),
    [
        (FULL_SCALE.astype(np.int16), "PCM_16"),
        (FULL_SCALE.astype(">i2"), "PCM_16"),
        (AS_FLOAT[None], "FLOAT"),
        (AS_FLOAT[None].astype(np.float64), "DOUBLE"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_stored_samples_are_decoded(
    tmp_path: Path, stored: np.ndarray, encoding: str, compressed: bool, three_dimensions: bool
) -> None:
    stored = np.concatenate([np.zeros_like(stored), stored])
    save = np.savez_compressed if compressed else np.savez
    values = stored[..., None] if three_dimensions else stored
    save(tmp_path / "words.npz", wav_vals=values, label_vals=np.array([["yes"], ["no"]]))
    datamodule = npz(tmp_path, "data.stored_sample_rate=16000")
    recordings = datamodule.recordings(["words.npz#1"])
    assert len(recordings) == 1
    decoded = recordings.decode(0)
    assert decoded.samples.dtype == np.float32
    np.testing.assert_array_equal(decoded.samples, AS_FLOAT[:, None])
    assert (decoded.sample_rate, decoded.container, decoded.encoding) == (16000, "NPZ", encoding)
    prepare(decoded, 8000, "float32")


def test_labels_of_bytes_and_empty_ones(tmp_path: Path) -> None:
    write(tmp_path, label_vals=np.array([b"yes", " nö ".encode(), b" ", *[b"yes"] * 9]))
    manifest = npz(tmp_path).read()
    assert manifest.classes == ("nö", "yes")
    assert [str(problem) for problem in manifest.problems] == ["words.npz#2: has an empty label"]
    assert list(manifest.table["path"][:3]) == ["words.npz#0", "words.npz#1", "words.npz#3"]


def test_the_waveforms_are_loaded_once_and_not_before_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    loaded: list[str] = []
    array = speechcommandsnpz._array

    def slowly(file: Path, name: str) -> np.ndarray:
        loaded.append(name)
        time.sleep(0.02)
        return array(file, name)

    monkeypatch.setattr(speechcommandsnpz, "_array", slowly)
    datamodule = npz(tmp_path)
    paths = list(datamodule.read().table["path"])
    recordings = datamodule.recordings(paths)
    recordings.identities("stat")
    assert loaded == ["label_vals"]
    threads = [threading.Thread(target=recordings.decode, args=(index,)) for index in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == ["label_vals", "wav_vals"]


def identities(file: Path, by: str, *, rate: int = 8000) -> list[bytes]:
    datamodule = npz(file, f"data.stored_sample_rate={rate}")
    recordings = datamodule.recordings([f"{file.name}#{index}" for index in (3, 1, 2)])
    return [row.tobytes() for row in recordings.identities(by)]


@pytest.mark.parametrize("by", ["stat", "content"])
def test_identities(tmp_path: Path, by: str) -> None:
    """They differ by row and rate; by content, a copy of the file is equal and a changed row is not."""
    file = write(tmp_path)
    first = identities(file, by)
    assert first == identities(file, by)
    assert len(set(first)) == 3
    assert {len(identity) for identity in first} == {16}
    assert not set(first) & set(identities(file, by, rate=16000))
    (tmp_path / "elsewhere").mkdir()
    changed = waveforms()
    changed[1, 5] += 0.1
    copy = identities(write(tmp_path / "elsewhere", wav_vals=changed), by)
    assert [old == new for old, new in zip(first, copy)] == ([True, False, True] if by == "content" else [False] * 3)


def test_invalid_samples_name_their_row(tmp_path: Path) -> None:
    damaged = waveforms().astype(np.float64)
    damaged[1, 40] = np.nan
    damaged[2, 8] = 1e300
    write(tmp_path, wav_vals=damaged)
    recordings = npz(tmp_path).recordings(["words.npz#0", "words.npz#1", "words.npz#2"])
    recordings.decode(0)
    for index, seconds in ((1, "0.005"), (2, "0.001")):
        with pytest.raises(AudioError) as caught:
            recordings.decode(index)
        assert str(caught.value) == (
            f"{tmp_path}/words.npz#{index}: holds NaN or infinite samples, the first at {seconds} s; write the archive "
            "again or leave it out"
        )


OBJECTS = np.array([["yes"], None], dtype=object)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"wav_vals": OBJECTS}, "wav_vals is an array of Python objects, which need pickle"),
        ({"label_vals": OBJECTS}, "label_vals is an array of Python objects, which need pickle"),
        ({"wav_vals": waveforms()[0]}, r"wav_vals is float32 of shape \[80\], expected int16 or float of shape"),
        ({"wav_vals": np.zeros((12, 80, 2))}, r"wav_vals is float64 of shape \[12, 80, 2\]"),
        ({"wav_vals": np.zeros((0, 80)), "label_vals": labels(0)}, r"wav_vals is float64 of shape \[0, 80\]"),
        ({"wav_vals": np.zeros((12, 80), np.int32)}, r"wav_vals is int32 of shape \[12, 80\], expected int16 or float"),
        ({"label_vals": labels(11)}, r"label_vals is <U7 of shape \[11\], expected a string for each of the 12 clips"),
        ({"label_vals": np.arange(12)}, r"label_vals is int64 of shape \[12\], expected a string for each"),
        ({"label_vals": np.array([b"\xff"] * 12)}, "words.npz is damaged, or not a .npz file: 'utf-8' codec"),
    ],
)
def test_unusable_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    write(tmp_path, **arrays)
    with pytest.raises(DataError, match=message):
        npz(tmp_path).read()


def test_missing_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "words.npz", wav_vals=waveforms(), labels=labels())
    with pytest.raises(DataError) as caught:
        npz(tmp_path).read()
    assert str(caught.value) == (
        f"{tmp_path}/words.npz has no array label_vals; expected wav_vals and label_vals, found labels, wav_vals"
    )


def test_damaged_archive_is_an_error_before_and_during_decoding(tmp_path: Path) -> None:
    stored = waveforms(samples=8000)
    file = write(tmp_path, wav_vals=stored)
    content = file.read_bytes()
    middle = content.index(stored[6].tobytes())
    file.write_bytes(content[:middle] + b"damage" + content[middle + 6 :])
    datamodule = npz(file)
    datamodule.read()
    with pytest.raises(DataError, match=r"words.npz is damaged, or not a .npz file: Bad CRC-32"):
        datamodule.recordings(["words.npz#0"]).decode(0)
    file.write_bytes(content[:-50])
    with pytest.raises(DataError, match=r"words.npz is damaged, or not a .npz file: File is not a zip file"):
        datamodule.read()


def test_folder_without_exactly_one_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected one .npz file, the folder has none; set data.root to the file"):
        npz(tmp_path).read()
    write(tmp_path, "a.npz")
    write(tmp_path, "b.npz")
    with pytest.raises(DataError, match=r"expected one .npz file, the folder has 2: a.npz, b.npz"):
        npz(tmp_path).read()
    with pytest.raises(DataError, match=r"c.npz: No such file or directory; check data.root"):
        npz(tmp_path / "c.npz").read()


def test_implausible_sample_rate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.stored_sample_rate=8: expected a rate in hertz, at least 1000"):
        npz(tmp_path, "data.stored_sample_rate=8")
