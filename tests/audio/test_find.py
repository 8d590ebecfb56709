"""Recordings below a folder, and the summary of other files."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import tones, write_tones

from audio_lightning.audio import Finder, decode, find_recordings
from audio_lightning.audio.formats import is_recording
from audio_lightning.core.errors import DataError

NO_MAGIC = {"HTK", "MAT4", "RAW", "SD2", "SDS", "SVX", "XI", "WVE", "MPC2K", "MAT5"}
"""Containers that cannot hold 16-bit sound, or are recognized only by their suffix."""


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.wav", "top/b.wav")
    (tmp_path / "top/linked").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real/up").symlink_to(tmp_path / "top", target_is_directory=True)
    assert find_recordings([tmp_path / "top"]) == [tmp_path / "top/b.wav", tmp_path / "top/linked/a.wav"]


def test_other_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(
        tmp_path, "a.wav", "._a.wav", ".DS_Store", ".git/b.wav", "__MACOSX/._a.wav", "n.txt", "m.TXT", "README", "x.csv"
    )
    os.mkfifo(tmp_path / "pipe")
    with caplog.at_level(logging.WARNING):
        assert find_recordings([tmp_path]) == [tmp_path / "a.wav"]
    passed_over = "5 other files (.txt 2, no ending 2, .csv 1), 4 hidden"
    assert caplog.messages == [f"{tmp_path}: ignored {passed_over}"]


def test_summary_is_empty_without_other_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_recordings([touch(tmp_path, "b/a.wav"), Path("named.xyz")]) == [
        tmp_path / "b/a.wav", Path("named.xyz")
    ]  # fmt: skip
    assert caplog.messages == []


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contains no recordings; expected files such as WAV"):
        find_recordings([tmp_path])
    with pytest.raises(DataError, match=r"contains no recordings, only 1 other file \(.txt 1\); expected"):
        find_recordings([touch(tmp_path, "a.txt")])


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    """It is listed as a recording that cannot be opened, and does not disappear."""
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    assert find_recordings([tmp_path]) == [tmp_path / "a.wav"]


def test_a_link_to_itself_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert find_recordings([tmp_path]) == [tmp_path / "a.wav"]
    assert caplog.messages == [f"{tmp_path}: ignored 1 other file (no ending 1)"]


def test_patterns_are_ignored_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/2_old.wav", "b/3.wav", "c/b/4.wav", "cafe\u0301/5.wav")
    finder = Finder(tmp_path, ["*_old.wav", "c/b", "b", "x", "caf\u00e9/"])
    assert finder.recordings() == ["a/1.wav"]
    assert finder.ignored == {"*_old.wav": 1, "c/b": 1, "b": 1, "caf\u00e9/": 1}
    assert finder.summary().startswith("1 by data.ignore=")


@pytest.mark.parametrize("container", sorted(set(soundfile.available_formats()) - NO_MAGIC))
def test_every_container_is_recognized_by_its_first_bytes(container: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.xyz"
    soundfile.write(path, tones(8_000), 16_000, format=container)
    assert is_recording(path)
    assert len(decode(path)[0]) == pytest.approx(8_000, abs=1_200)  # an MP3 has padding


@pytest.mark.parametrize(
    "content",
    [b"", b"text", "two bytes a sign".encode("utf-16") * 99, b"\xff\xfb" + bytes(999), b"\xff", b"RIFF1234AVI ",
     b"%PDF-1.7", b"PK\x03\x04" + bytes(99), b"\x89PNG\r\n", b"\x0b\x77" + bytes(99), bytes(99)],
)  # fmt: skip
def test_other_files_are_no_recordings(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(content)
    assert not is_recording(tmp_path / "a.xyz")


@pytest.mark.parametrize("ending", ["oga", "wave", "aifc", "WAV", "Opus", "m4a"])
def test_suffix_is_enough(ending: str, tmp_path: Path) -> None:
    assert is_recording(touch(tmp_path, f"damaged.{ending}") / f"damaged.{ending}")


def test_recordings_with_unknown_suffixes_are_found(tmp_path: Path) -> None:
    samples = write_tones(tmp_path / "a.take1", format="WAV", subtype="FLOAT")
    (found,) = find_recordings([tmp_path])
    np.testing.assert_array_equal(decode(found)[0], samples)
