"""Formats that libsndfile does not read."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from recordings import cut, tones, write_tones

from audio_lightning.audio import decode, describe, ffmpeg, find_recordings, load, windows
from audio_lightning.audio.formats import is_recording
from audio_lightning.core.errors import AudioError

CONTAINERS = {"m4a": "MOV", "aac": "AAC", "wma": "ASF", "webm": "MATROSKA", "mka": "MATROSKA", "mp4": "MOV"}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one second of a tone in every container of CONTAINERS. Read only."""
    folder = tmp_path_factory.mktemp("encoded")
    program = ffmpeg.executable()
    assert program is not None, "imageio-ffmpeg, which the extra dev installs, brings ffmpeg"
    write_tones(folder / "tone.wav", sample_rate=48_000)
    for ending in CONTAINERS:
        subprocess.run([program, "-v", "error", "-i", folder / "tone.wav", folder / f"tone.{ending}"], check=True)
    return folder


def spectral_peak(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize("ending", CONTAINERS)
def test_ffmpeg_decodes_it(ending: str, encoded: Path) -> None:
    path = encoded / f"tone.{ending}"
    info = describe(path)
    assert (info.container, info.encoding) == (CONTAINERS[ending], "ffmpeg")
    samples, rate = decode(path)
    assert (samples.dtype, samples.shape) == (np.float32, (info.frames, 1))
    assert len(samples) / rate == pytest.approx(1.0, abs=0.1)
    assert spectral_peak(samples[:, 0], rate) == pytest.approx(300, abs=2)
    assert np.abs(samples).max() == pytest.approx(np.abs(tones(48_000, sample_rate=48_000)).max(), abs=0.05)
    part, _ = decode(path, start_seconds=0.25, stop_seconds=0.5)
    np.testing.assert_array_equal(part, samples[round(0.25 * rate) : round(0.5 * rate)])
    first = next(iter(windows(path, 16_000, window_samples=4_000, hop_samples=4_000)))
    np.testing.assert_allclose(first.samples, load(path, 16_000)[:4_000], atol=1e-3)


def test_layer_ii_is_read_by_libsndfile(encoded: Path, tmp_path: Path) -> None:
    program = ffmpeg.executable()
    assert program is not None
    subprocess.run([program, "-v", "error", "-i", encoded / "tone.wav", tmp_path / "tone.mp2"], check=True)
    assert describe(tmp_path / "tone.mp2").encoding != "ffmpeg"
    assert spectral_peak(decode(tmp_path / "tone.mp2")[0][:, 0], 48_000) == pytest.approx(300, abs=2)


def test_suffix_does_not_matter(encoded: Path, tmp_path: Path) -> None:
    for ending in CONTAINERS:
        (tmp_path / f"{ending}.take1").write_bytes((encoded / f"tone.{ending}").read_bytes())
    found = find_recordings([tmp_path])
    assert len(found) == len(CONTAINERS)
    assert all(len(decode(path)[0]) for path in found)


def test_missing_ffmpeg_is_an_error_with_a_remedy(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "executable", lambda: None)
    with pytest.raises(
        AudioError, match=r"tone.m4a: needs ffmpeg .*; install ffmpeg, or pip install 'audio-lightning\[f"
    ):
        decode(encoded / "tone.m4a")
    assert is_recording(encoded / "tone.m4a"), "it is counted all the same"


def test_ffmpeg_is_found_on_the_path_or_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    brought = ffmpeg.executable()
    assert brought is not None
    assert Path(brought).parent.parent.name == "imageio_ffmpeg"
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    assert ffmpeg.executable() == str(tmp_path / "ffmpeg")


@pytest.mark.parametrize("ending", CONTAINERS)
def test_truncated_file_is_refused_in_one_line(ending: str, encoded: Path, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{ending}"
    path.write_bytes((encoded / f"tone.{ending}").read_bytes())
    cut(path, 0.6)
    with pytest.raises(
        AudioError, match=r"cut\.\w+: cannot be decoded by ffmpeg \(.+\); replace the file or leave it"
    ) as e:
        decode(path)
    assert "\n" not in str(e.value)


def test_container_shorter_than_stated_is_refused(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "TOLERANCE", -1.5)  # as if the header stated over a second more
    with pytest.raises(AudioError, match=r"truncated: holds 1\.\d+ s, its header says 1\.\d+ s"):
        decode(encoded / "tone.webm")


def test_a_recording_that_becomes_too_large_is_refused(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_BYTES", 50_000)
    with pytest.raises(AudioError, match="cannot be decoded by ffmpeg"):
        decode(encoded / "tone.m4a")


@pytest.mark.parametrize("name", ["list.m4a", "list.webm", "list.aac"])
def test_a_playlist_under_the_name_of_a_recording_leads_nowhere(name: str, encoded: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{encoded}/tone.aac\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="is not a recording that can be decoded"):
        decode(path)
    path.write_bytes(b"\x1a\x45\xdf\xa3" + path.read_bytes())
    with pytest.raises(AudioError, match="cannot be decoded by ffmpeg"):
        decode(path)
