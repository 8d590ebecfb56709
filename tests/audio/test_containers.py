"""Lengths that containers state, leave open or get wrong, and files that are readable nevertheless."""

import contextlib
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import SAMPLE_RATE, cut, tones, write_tones

from audio_lightning.audio import decode, describe, load, windows
from audio_lightning.audio.formats import LIBSNDFILE_SUFFIXES
from audio_lightning.audio.mpeg import _frame_length
from audio_lightning.core.errors import AudioError

CONTAINERS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "big_endian": {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
    "wave_extensible": {"format": "WAVEX", "subtype": "PCM_24"},
    "adpcm": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "gsm": {"format": "WAV", "subtype": "GSM610"},
    "rf64": {"format": "RF64", "subtype": "PCM_16"},
    "w64": {"format": "W64", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_16"},
    "au": {"format": "AU", "subtype": "PCM_16"},
    "au_little_endian": {"format": "AU", "subtype": "PCM_16", "endian": "LITTLE"},
    "caf": {"format": "CAF", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_intact_file_is_read_and_one_cut_anywhere_is_refused(container: str, tmp_path: Path) -> None:
    path = tmp_path / f"sound.{container}"
    written = write_tones(path, sample_rate=8_000, **CONTAINERS[container])
    samples, _ = decode(path)
    assert np.corrcoef(samples[: len(written), 0], written[:, 0])[0, 1] > 0.99
    assert len(samples) == describe(path).frames

    intact = path.read_bytes()
    for share in (0.02, 0.3, 0.7, 0.98):
        cut(path, share)
        with pytest.raises(AudioError, match=r"truncated|not a recording"):
            decode(path)
        path.write_bytes(intact)


@pytest.mark.parametrize("container", CONTAINERS)
def test_data_after_the_samples_is_ignored(container: str, tmp_path: Path) -> None:
    path = tmp_path / f"sound.{container}"
    frames = len(write_tones(path, sample_rate=8_000, **CONTAINERS[container]))
    samples, _ = decode(path)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(decode(path)[0][:frames], samples[:frames])


@pytest.mark.parametrize("suffix", sorted(LIBSNDFILE_SUFFIXES - {".mp2"}))  # soundfile cannot write it
def test_every_suffix_names_a_format_that_can_be_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"sound{suffix}"
    formats = {
        ".aif": "AIFF",
        ".aifc": "AIFF",
        ".au": "AU",
        ".oga": "OGG",
        ".opus": "OGG",
        ".snd": "AU",
        ".wave": "WAV",
    }
    write_tones(path, format=formats.get(suffix), subtype="OPUS" if suffix == ".opus" else None)
    assert describe(path).frames == SAMPLE_RATE


def _wav(riff_size: int, data_size: int, sound: bytes, behind: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", data_size)
    return b"RIFF" + struct.pack("<I", riff_size) + chunks + sound + behind


@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [
        (0, 0),
        (36, 0),
        (0xFFFFFFFF, 0),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF - 36),
        (0x7FFFFFFF, 0x7FFFFFFF - 36),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
    ],
)
def test_piped_wav_is_read_completely(riff_size: int, data_size: int, tmp_path: Path) -> None:
    sound = np.arange(-500, 500, dtype="<i2")
    path = tmp_path / "piped.wav"
    path.write_bytes(_wav(riff_size, data_size, sound.tobytes()))

    samples, _ = decode(path)

    np.testing.assert_array_equal(samples[:, 0], sound / np.float32(2**15))
    part, _ = decode(path, start_seconds=100 / SAMPLE_RATE, stop_seconds=200 / SAMPLE_RATE)
    np.testing.assert_array_equal(part, samples[100:200])


@pytest.mark.parametrize("riff_size", [36, 0, 0xFFFFFFFF])
def test_a_piped_wav_without_sound_has_no_frames(riff_size: int, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(_wav(riff_size, 0, b""))
    with pytest.raises(AudioError, match="no frames"):
        decode(tmp_path / "empty.wav")


def test_intentionally_empty_data_chunk_has_no_frames(tmp_path: Path) -> None:
    comment = b"LIST" + struct.pack("<I", 100) + b"INFO" + bytes(96)
    path = tmp_path / "commented.wav"
    path.write_bytes(_wav(36 + len(comment), 0, b"", comment))
    with pytest.raises(AudioError, match="no frames"):
        decode(path)


def test_chunks_before_the_samples_are_skipped(tmp_path: Path) -> None:
    sound = np.arange(1000, dtype="<i2").tobytes()
    plain = _wav(36 + len(sound), len(sound), sound)
    comment = b"LIST" + struct.pack("<I", 5) + b"INFO\0" + b"\0"  # an odd size, padded to an even one
    path = tmp_path / "commented.wav"
    path.write_bytes(plain[:12] + comment + plain[12:])
    assert len(decode(path)[0]) == 1000
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AudioError, match="2 bytes are missing"):
        decode(path)


def test_a_flac_that_does_not_state_its_length_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "piped.flac"
    write_tones(path)
    _state_flac_length(path, 0)
    with pytest.raises(AudioError, match="encode it again"):
        describe(path)


@pytest.mark.parametrize("hours", [3, 1000])
def test_flac_with_an_overstated_length_is_refused(hours: int, tmp_path: Path) -> None:
    path = tmp_path / "claims.flac"
    write_tones(path)
    _state_flac_length(path, hours * 3600 * SAMPLE_RATE)
    with pytest.raises(AudioError, match="longer than" if hours > 4 else "truncated"):
        decode(path)


def test_windows_before_the_damage_are_returned(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 40 * SAMPLE_RATE), SAMPLE_RATE)
    cut(path, 0.6)
    given = []
    with pytest.raises(AudioError, match="truncated"):
        given.extend(
            window.start_seconds
            for window in windows(path, SAMPLE_RATE, window_samples=SAMPLE_RATE, hop_samples=SAMPLE_RATE)
        )
    assert given[:16] == list(range(16))


def _state_flac_length(path: Path, frames: int) -> None:
    """Set the length: the lower 36 bits of bytes 18 to 26, in the stream information block."""
    content = bytearray(path.read_bytes())
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = (fields >> 36 << 36 | frames).to_bytes(8, "big")
    path.write_bytes(content)


def _write_mp3_without_length(path: Path, samples: np.ndarray, sample_rate: int, tag: bytes = b"") -> np.ndarray:
    """Write a variable-rate MP3 without the frame that states its length; returns the sound with the stated length."""
    soundfile.write(path, samples, sample_rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    stated, _ = soundfile.read(path, dtype="float32", always_2d=True)
    content = path.read_bytes()
    path.write_bytes(tag + content[_frame_length(int.from_bytes(content[:4], "big")) :])
    return stated


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("loud", ["first", "last"])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_does_not_state_its_length_is_read_whole(
    sample_rate: int, loud: str, channels: int, tmp_path: Path
) -> None:
    # The bit rate follows the loudness, so that an estimate from the first frames is far too high or too low.
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * sample_rate, channels)).astype(np.float32)
    noise[sample_rate:] = 0
    path = tmp_path / "unstated.mp3"
    stated = _write_mp3_without_length(path, noise if loud == "first" else noise[::-1], sample_rate)
    frame = 1152 if sample_rate == 44_100 else 576
    guess = soundfile.info(path).frames
    assert abs(guess - len(stated)) > 0.1 * len(stated), "the case must be one that libsndfile gets wrong"

    samples, _ = decode(path)

    assert len(samples) == describe(path).frames
    assert len(samples) % frame == 0
    delay = 1105  # of encoder and decoder; only the removed frame states it
    assert len(stated) + delay <= len(samples) <= len(stated) + delay + 2 * frame
    np.testing.assert_allclose(samples[delay:][: len(stated)], stated, atol=1e-5)

    path.write_bytes(path.read_bytes()[:-1])  # the last frame is incomplete now, and no header states it
    np.testing.assert_array_equal(decode(path)[0], samples[:-frame])


def test_tags_around_an_mp3_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp3"
    sound = tones(3 * SAMPLE_RATE)
    _write_mp3_without_length(path, sound, SAMPLE_RATE)
    plain, _ = decode(path)
    attachment = path.read_bytes()[:2_000] + bytes(10_000)  # these bytes look like frames, but are not
    size = len(attachment)
    tag = b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + attachment
    path.write_bytes(tag + path.read_bytes() + b"TAG" + b" " * 125)

    assert soundfile.info(path).frames != len(plain), "the case must be one that libsndfile gets wrong"
    np.testing.assert_array_equal(decode(path)[0], plain)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_header_that_states_all_but_the_length_is_not_counted_as_sound(
    sample_rate: int, channels: int, tmp_path: Path
) -> None:
    path = tmp_path / "unstated.mp3"
    stated = _write_mp3_without_length(path, tones(3 * sample_rate, channels=channels), sample_rate)
    without_header, _ = decode(path)
    soundfile.write(path, stated, sample_rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    content = bytearray(path.read_bytes())
    content[content.index(b"Xing") + 7] &= ~1
    path.write_bytes(content)

    assert len(decode(path)[0]) == len(without_header)


def test_an_mp3_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp3"
    noise = np.random.default_rng(0).normal(0, 0.1, (5 * SAMPLE_RATE, 1))
    _write_mp3_without_length(path, noise, SAMPLE_RATE)
    content = bytearray(path.read_bytes())
    content[5_000:10_000] = bytes(5_000)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="damaged or truncated"):
        decode(path)


@pytest.mark.parametrize("name", ["a.wav", "a.w64", "a.caf", "a.aiff", "a.au"])
def test_any_size_in_a_header_is_read_or_refused(name: str, tmp_path: Path) -> None:
    """Sizes that lead out of the file, before its beginning, and beyond every possible offset."""
    path = tmp_path / name
    write_tones(path, 0.05)
    intact = path.read_bytes()
    read = 0
    for start in range(4, min(len(intact), 140)):
        for size in (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\x80" + bytes(7)):
            path.write_bytes(intact[:start] + size + intact[start + 8 :])
            with contextlib.suppress(AudioError):
                load(path, SAMPLE_RATE)
                read += 1
    assert read, "what lies behind the header may be anything"


def test_file_of_only_empty_chunks_is_refused(tmp_path: Path) -> None:
    chunk = b"junk" + bytes(4)
    (tmp_path / "a.wav").write_bytes(b"RIFF\xff\xff\xff\x7fWAVE" + chunk * 1_000_000)
    started = time.perf_counter()
    with pytest.raises(AudioError):
        describe(tmp_path / "a.wav")
    assert time.perf_counter() - started < 5
