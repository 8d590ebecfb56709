"""Odd and damaged recordings, and files that are not recordings."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import DAMAGED, ODD, write_tones

from audio_lightning.audio import decode, describe, load, windows
from audio_lightning.core.errors import AudioError


@pytest.mark.parametrize("name", ODD)
def test_odd_recording_is_read_correctly(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    expected = ODD[name](path)

    samples, sample_rate = decode(path)

    assert samples.dtype == np.float32
    assert samples.shape == expected.samples.shape
    assert sample_rate == expected.sample_rate
    np.testing.assert_allclose(samples, expected.samples, rtol=0, atol=expected.tolerance)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_recording_is_described(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    expected = ODD[name](path)

    info = describe(str(path))

    assert (info.frames, info.channels) == expected.samples.shape
    assert info.sample_rate == expected.sample_rate
    assert info.duration_seconds == len(expected.samples) / expected.sample_rate
    assert info.path == path


def test_describe_names_container_and_encoding(tmp_path: Path) -> None:
    ODD["a_law.wav"](tmp_path / "a.wav")
    info = describe(tmp_path / "a.wav")
    assert (info.container, info.encoding) == ("WAV", "ALAW")


def _all_windows(path: Path) -> None:
    list(windows(path, 16_000, window_samples=4_000, hop_samples=4_000))


def _load(path: Path) -> None:
    load(path, 8_000)


READERS = pytest.mark.parametrize("read", [decode, _load, _all_windows])


@READERS
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_recording_is_refused_with_file_and_reason(name: str, read, tmp_path: Path) -> None:
    path = tmp_path / name
    reason = DAMAGED[name](path)

    with pytest.raises(AudioError) as refusal:
        read(path)

    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


def _text(path: Path) -> str:
    path.write_text("These are words, not sound.\n" * 100)
    return "not a recording that can be decoded"


def _folder(path: Path) -> str:
    path.mkdir()
    return "a folder"


def _missing(path: Path) -> str:
    return "No such file"


def _pipe(path: Path) -> str:
    os.mkfifo(path)
    return "not a regular file"


def _loop(path: Path) -> str:
    path.symlink_to(path)
    return "cannot be opened"


def _forbidden(path: Path) -> str:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to the superuser")
    write_tones(path)
    path.chmod(0)
    return "Permission denied"


@pytest.mark.parametrize("read", [describe, decode, _load, _all_windows])
@pytest.mark.parametrize("make", [_text, _folder, _missing, _pipe, _loop, _forbidden])
def test_other_files_are_refused(make, read, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    reason = make(path)
    with pytest.raises(AudioError) as refusal:
        read(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert reason in str(refusal.value)


def test_headerless_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sound.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match="not a recording"):
        describe(tmp_path / "sound.raw")


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
def test_infinite_samples_are_refused(bad: float, tmp_path: Path) -> None:
    path = tmp_path / "infinite.wav"
    soundfile.write(path, np.array([0.1, 0.2, bad]), 16_000, subtype="DOUBLE")
    with pytest.raises(AudioError, match="NaN or infinite"):
        decode(path)


@READERS
def test_implausible_sample_rate_is_refused(read, tmp_path: Path) -> None:
    write_tones(tmp_path / "slow.wav", 100, sample_rate=999)
    with pytest.raises(AudioError, match="999 Hz"):
        read(tmp_path / "slow.wav")
    write_tones(tmp_path / "fast_enough.wav", 1, sample_rate=1_000)
    read(tmp_path / "fast_enough.wav")


def test_reading_audio_does_not_import_torch() -> None:
    check = "import sys, audio_lightning.audio; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
