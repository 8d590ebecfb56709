"""Recordings are decoded once, reused only while unchanged, and kept within the maximum size."""

import errno
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_lightning.audio import ffmpeg, load
from audio_lightning.core.errors import DataError
from audio_lightning.data.store import cache as cache_module
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.decoded import FACTS, DecodedAudio
from audio_lightning.data.store.recordings import Decoded, Recordings


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number, length in enumerate((100, 4000, 1234)):
        paths.append(tmp_path / "sounds" / f"{number}.wav")
        paths[-1].parent.mkdir(exist_ok=True)
        soundfile.write(paths[-1], rng.uniform(-0.5, 0.5, length), 8000, subtype="FLOAT")
    return paths


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the files that are decoded."""
    seen: list[Path] = []
    original = Recordings.decode

    def spy(self: Recordings, index: int) -> Decoded:
        seen.append(Path(self.files[index]))
        return original(self, index)

    monkeypatch.setattr(Recordings, "decode", spy)
    return seen


def assert_right(audio: DecodedAudio, files: list[Path], rate: int = 8000) -> None:
    assert len(audio) == len(files)
    for index, path in enumerate(files):
        np.testing.assert_array_equal(audio[index], load(path, rate))


def test_samples_are_those_of_the_recordings(files: list[Path], cache: Cache) -> None:
    audio = cache.decode(Recordings(files), 8000)
    assert_right(audio, files)
    assert len(np.unique(audio.hashes, axis=0)) == 3
    assert isinstance(audio.samples, np.memmap)
    assert len(audio.samples) == 100 + 4000 + 1234, "there is padding on the disk"


def test_a_second_run_decodes_nothing(files: list[Path], cache: Cache, decoded: list[Path]) -> None:
    first = cache.decode(Recordings(files), 8000)
    assert sorted(decoded) == files
    second = cache.decode(Recordings(files), 8000)
    assert len(decoded) == 3
    assert_right(second, files)
    for name in ("content", "hashes", "facts", "starts", "stops"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_facts_are_those_of_the_source_files(tmp_path: Path, cache: Cache) -> None:
    stereo = np.array([[0.5, -1.0], [0.25, 1.0], [0.0, 0.0], [0.0, 0.0]])
    soundfile.write(tmp_path / "a.wav", stereo, 16000, subtype="FLOAT")
    (tmp_path / "b.wav").write_text("no sound")
    facts = cache.decode(Recordings([tmp_path / "a.wav", tmp_path / "b.wav"]), 8000).facts
    assert facts.dtype == FACTS
    rms, of_mean = (pytest.approx(np.sqrt((values**2).mean())) for values in (stereo, stereo.mean(axis=1)))
    assert facts[0].item() == (16000, 2, 4, 1.0, rms, 0.25, of_mean, "WAV", "FLOAT")
    assert facts[1] == np.zeros((), FACTS)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_int16_is_exact_for_16_bit_recordings_and_clips_what_exceeds_full_scale(tmp_path: Path, subtype: str) -> None:
    samples = np.concatenate([np.arange(-32768, 32768, 7) / 32768, [1.5, -1.5] if subtype == "FLOAT" else []])
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype=subtype)
    audio = Cache(tmp_path / "cache", dtype="int16").decode(Recordings([tmp_path / "a.wav"]), 8000)
    assert audio.samples.dtype == np.int16
    np.testing.assert_array_equal(audio[0], np.clip(samples, -1, 32767 / 32768).astype(np.float32))
    assert audio[0].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "decoded_again"),
    [("contents", [0]), ("added", [3]), ("removed", []), ("order", []), ("rate", [0, 1, 2]), ("type", [0, 1, 2])],
)
def test_only_what_is_new_is_decoded(
    files: list[Path], cache: Cache, decoded: list[Path], change: str, decoded_again: list[int]
) -> None:
    cache.decode(Recordings(files), 8000)
    decoded.clear()
    rate = 4000 if change == "rate" else 8000
    if change == "contents":
        soundfile.write(files[0], np.full(100, 0.25), 8000, subtype="FLOAT")
        os.utime(files[0], ns=(time.time_ns(), time.time_ns() + 10**9))
    elif change == "added":
        files = [*files, files[0].with_name("new.wav")]
        soundfile.write(files[-1], np.full(50, 0.5), 8000, subtype="FLOAT")
    elif change == "removed":
        files = files[1:]
    elif change == "order":
        files = files[::-1]
    elif change == "type":
        cache = Cache(cache.root, dtype="int16")
    audio = cache.decode(Recordings(files), rate)
    assert sorted(decoded) == [files[index] for index in decoded_again]
    if change != "type":
        assert_right(audio, files, rate)


def test_changed_file_with_restored_size_and_time_is_detected(
    files: list[Path], cache: Cache, decoded: list[Path]
) -> None:
    cache.decode(Recordings(files), 8000)
    decoded.clear()
    before = files[0].stat()
    time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    soundfile.write(files[0], np.full(100, 0.25), 8000, subtype="FLOAT")
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (files[0].stat().st_size, files[0].stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert_right(cache.decode(Recordings(files), 8000), files)
    assert decoded == [files[0]]


@pytest.mark.parametrize(("identity", "found"), [("stat", False), ("content", True)])
def test_moved_copy_is_recognized_by_content(
    files: list[Path], tmp_path: Path, decoded: list[Path], identity: str, found: bool
) -> None:
    cache = Cache(tmp_path / "cache", identity=identity)
    cache.decode(Recordings(files), 8000)
    decoded.clear()
    files[0].parent.rename(tmp_path / "elsewhere")
    moved = [tmp_path / "elsewhere" / path.name for path in files]
    assert_right(cache.decode(Recordings(moved), 8000), moved)
    assert decoded == [] if found else sorted(decoded) == moved


def test_unreadable_recordings_are_kept_apart(files: list[Path], cache: Cache) -> None:
    files[1].write_text("no sound")
    for _ in range(2):  # built, and reused
        audio = cache.decode(Recordings([*files, files[0].with_name("gone.wav")]), 8000)
        assert set(audio.errors) == {1, 3}
        assert str(files[1]) in audio.errors[1]
        assert len(audio[1]) == 0
        np.testing.assert_array_equal(audio[2], load(files[2], 8000))
    picked = audio.select([2, 3])
    assert set(picked.errors) == {1}
    np.testing.assert_array_equal(picked[0], load(files[2], 8000))


def test_recordings_are_decoded_once_ffmpeg_is_installed(
    files: list[Path], cache: Cache, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused file stays in the set; its size and times do not change."""
    program = ffmpeg.executable()
    assert program is not None
    files.append(files[0].with_name("new.m4a"))
    subprocess.run([program, "-v", "error", "-i", files[1], files[-1]], check=True)
    with monkeypatch.context() as patch:
        patch.setattr(ffmpeg, "executable", lambda: None)
        for _ in range(2):
            assert list(cache.decode(Recordings(files), 8000).errors) == [3]
        assert len(decoded) == 4
        assert list(cache.decode(Recordings(files[1:]), 8000).errors) == [2], "found in the larger set"
    for some in (files[1:], files):
        audio = cache.decode(Recordings(some), 8000)
        assert not audio.errors
        assert_right(audio, some)
    assert len(decoded) == 5, "the others are copied, and so is it from the smaller set"


def test_silence_has_no_hash(tmp_path: Path, cache: Cache) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    assert not cache.decode(Recordings([tmp_path / "a.wav"]), 8000).hashes.any()


@pytest.mark.parametrize("damage", ["half the samples", "no index", "half the index", "no errors", "no about"])
def test_damaged_set_is_rebuilt(files: list[Path], cache: Cache, decoded: list[Path], damage: str) -> None:
    cache.decode(Recordings(files), 8000)
    (folder,) = (decoded_set.folder for decoded_set in cache.sets())
    samples, index = folder / "samples", folder / "index.npz"
    if damage == "half the samples":
        samples.write_bytes(samples.read_bytes()[:1000])
    elif damage == "half the index":
        index.write_bytes(index.read_bytes()[:200])
    else:
        (folder / {"no index": "index.npz", "no errors": "errors.json", "no about": "about.json"}[damage]).unlink()
    assert_right(cache.decode(Recordings(files), 8000), files)
    count = len(decoded)
    assert count >= 6
    cache.decode(Recordings(files), 8000)
    assert len(decoded) == count, "the damaged set was not replaced"


@pytest.mark.parametrize("when", ["at the start", "while writing"])
def test_full_disk_falls_back_to_memory(
    files: list[Path], cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "at the start":
            patch.setattr(cache_module.tempfile, "mkdtemp", full)
        else:
            patch.setattr(cache_module.np, "savez", full)
        assert_right(cache.decode(Recordings(files), 8000), files)
    assert "No space left on device" in caplog.text
    assert not cache.sets()
    assert not list(cache.folder.glob(".partial-*"))


def test_read_only_cache_is_used(
    files: list[Path], cache: Cache, monkeypatch: pytest.MonkeyPatch, decoded: list[Path]
) -> None:
    cache.decode(Recordings(files), 8000)
    decoded.clear()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr(Path, "mkdir", refused)
    assert_right(cache.decode(Recordings(files), 8000), files)
    assert not decoded


def test_progress_counts_to_the_end(files: list[Path], cache: Cache) -> None:
    seen: list[tuple[int, int]] = []
    cache.decode(Recordings(files), 8000, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def write_noise(folder: Path, samples: int, count: int = 1) -> Recordings:
    folder.mkdir()
    rng = np.random.default_rng(samples)
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.5, 0.5, samples), 8000, subtype="FLOAT")
    return Recordings(sorted(folder.iterdir()))


def test_least_recently_used_sets_are_deleted_first(tmp_path: Path) -> None:
    # A set takes 4 bytes per sample and an index of about 1,500 bytes.
    cache = Cache(tmp_path / "cache", max_gb=110_000 / 1e9)
    first, second, third = (write_noise(tmp_path / name, 10_000 + index) for index, name in enumerate("abc"))
    cache.decode(first, 8000)
    cache.decode(second, 8000)
    os.utime(cache.sets()[1].folder, (1, 1))
    assert [entry.about["root"] for entry in cache.sets()] == [str(tmp_path / "b"), str(tmp_path / "a")]
    cache.decode(first, 8000)  # used again
    (older,) = (entry for entry in cache.sets() if entry.about["root"] == str(tmp_path / "b"))
    os.utime(older.folder, (2, 2))
    cache.decode(third, 8000)
    assert {entry.about["root"] for entry in cache.sets()} == {str(tmp_path / "a"), str(tmp_path / "c")}
    assert sum(entry.bytes for entry in cache.sets()) <= 110_000


def test_a_set_that_alone_exceeds_the_bound_is_an_error(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", max_gb=1e-5)
    with pytest.raises(DataError, match=r"need more than data\.cache_max_gb=1e-05; raise it"):
        cache.decode(write_noise(tmp_path / "a", 10_000), 8000)
    assert list(cache.folder.glob("[!.]*")) == []
    assert list(cache.folder.glob(".partial-*")) == []


def test_clear_removes_sets_and_leftovers(files: list[Path], cache: Cache) -> None:
    audio = cache.decode(Recordings(files), 8000)
    (cache.folder / ".partial-left").mkdir()
    assert cache.clear() > 4 * 5334
    assert cache.sets() == []
    assert not list(cache.folder.glob(".partial-*"))
    assert_right(audio, files)  # a run that has it open continues


def slow_decode(self: Recordings, index: int) -> Decoded:
    with (Path(os.environ["TEST_LOG"])).open("a") as file:
        file.write(f"{os.getpid()} {index}\n")
    time.sleep(0.02)
    return Decoded(np.full((100 + index, 1), 0.1 + index / 1000, np.float32), 8000, "WAV", "FLOAT")


def decode_slowly(cache: Cache, files: list[Path], answers: "multiprocessing.Queue") -> None:
    Recordings.decode = slow_decode  # type: ignore[method-assign]
    audio = cache.decode(Recordings(files), 8000)
    answers.put((os.getpid(), len(audio), float(audio[39][0]), isinstance(audio.samples, np.memmap)))


@contextmanager
def processes(count: int, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple]:
    monkeypatch.setenv("TEST_LOG", str(tmp_path / "log"))
    files = [tmp_path / f"{number}.wav" for number in range(40)]
    for file in files:
        file.touch()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    started = [context.Process(target=decode_slowly, args=(cache, files, answers)) for _ in range(count)]
    for process in started:
        process.start()
    yield started, answers, files
    for process in started:
        process.join(timeout=30)
        assert process.exitcode is not None


def test_of_three_processes_on_a_cold_cache_one_builds(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with processes(3, cache, tmp_path, monkeypatch) as (_, answers, _files):
        found = [answers.get(timeout=30) for _ in range(3)]
    assert [entry[1:] for entry in found] == [(40, pytest.approx(0.139), True)] * 3
    lines = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(lines) == 40, "something was decoded twice"
    assert len({line.split()[0] for line in lines}) == 1
    assert len(cache.sets()) == 1


def test_killed_builder_leaves_no_damage(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with processes(1, cache, tmp_path, monkeypatch) as ((process,), _, files):
        for _ in range(1000):
            if (tmp_path / "log").exists() and (tmp_path / "log").read_text().count("\n") > 10:
                break
            time.sleep(0.01)
        assert list(cache.folder.glob(".partial-*")), "it was not in the middle of building"
        os.kill(process.pid, signal.SIGKILL)
    assert process.exitcode == -signal.SIGKILL
    assert cache.sets() == []
    monkeypatch.setattr(Recordings, "decode", slow_decode)
    audio = cache.decode(Recordings(files), 8000)
    assert [len(audio[index]) for index in range(40)] == list(range(100, 140))
    assert len(cache.sets()) == 1
    assert not list(cache.folder.glob(".partial-*"))
