"""Audio file formats, recognized by suffix or by the first bytes of a file."""

import os
from pathlib import Path
from typing import BinaryIO

import soundfile

from audio_lightning.audio.mpeg import begins_with_frames

LIBSNDFILE_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3"}
    | {".oga", ".ogg", ".opus", ".snd", ".w64", ".wav", ".wave"}
)
FFMPEG_SUFFIXES = frozenset(
    {".3gp", ".aac", ".ac3", ".amr", ".ape", ".dsf", ".m4a", ".m4b", ".mka", ".mp4", ".tta", ".webm", ".wma", ".wv"}
)

AUDIO_SUFFIXES = LIBSNDFILE_SUFFIXES | FFMPEG_SUFFIXES
"""Lower-case suffixes of recordings. A file with another suffix is a recording if its first bytes identify a format."""

HEADER_BYTES = 64

# Source: sndfile.c (guess_file_type) of libsndfile 1.2.
_LIBSNDFILE_MAGIC = (
    b"fLaC", b"OggS", b".snd", b"dns.", b"caff", b"riff\x2e\x91\xcf\x11", b"ID3", b"NIST_1A", b"Creative Voice File",
    b" paf", b"fap ", b"PVF1\n", b"2BIT", b"ALawSoundFile**", b"Extended Instrument: ",
    b"\x64\xa3\x01\x00", b"\x64\xa3\x02\x00", b"\x64\xa3\x03\x00", b"\x64\xa3\x04\x00",
    b"\x00\x01\xa3\x64", b"\x00\x02\xa3\x64", b"\x00\x03\xa3\x64", b"\x00\x04\xa3\x64",
)  # fmt: skip
_CHUNKED = {
    b"RIFF": (b"WAVE",),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV"),
}
# Ambiguous signatures, which other files have as well: libsndfile must be able to open the file.
_LIBSNDFILE_AMBIGUOUS = (b"MATLAB 5.0 MAT-file", b"\x00\x00\x00\x00", b"\x00\x00\x03\xe8", b"\xf0\x7e", b"\x01\x04")

_FFMPEG_MAGIC = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"#!AMR": "amr",
    b"\x0b\x77": "ac3",
    b"MAC ": "ape",
    b"wvpk": "wv",
    b"TTA1": "tta",
    b"DSD ": "dsf",
}


def is_recording(path: Path) -> bool:
    """Whether a file is a recording, by its suffix or its first bytes; it may still be impossible to decode.

    A file that cannot be opened is a recording only if its suffix is known.
    """
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
            if _is_libsndfile_header(header) or (header[:1] == b"\xff" and begins_with_frames(file)):
                return True
    except (OSError, ValueError):
        return False
    if header.startswith(_LIBSNDFILE_AMBIGUOUS) or header[8:12] == b"\x00\x02\x00\x00":  # the second is HTK
        return _opens(path)
    # The signature of AC-3 has only two bytes, too few for a file with an unknown suffix.
    return ffmpeg_demuxer(header) not in (None, "ac3")


def ffmpeg_demuxer(header: bytes) -> str | None:
    """Name that ffmpeg gives to a container with this header; None if libsndfile reads it, or if it is unknown."""
    if header[4:8] == b"ftyp":
        return "mov"
    if len(header) > 1 and header[0] == 0xFF and header[1] & 0xF6 == 0xF0:  # sync word of ADTS, ISO 13818-7
        return "aac"
    return next((name for magic, name in _FFMPEG_MAGIC.items() if header.startswith(magic)), None)


def read_header(file: BinaryIO) -> bytes:
    """The first :data:`HEADER_BYTES` bytes of an open file."""
    file.seek(0)
    return file.read(HEADER_BYTES)


def _is_libsndfile_header(header: bytes) -> bool:
    return header.startswith(_LIBSNDFILE_MAGIC) or header[8:12] in _CHUNKED.get(header[:4], ())


def libsndfile_name(path: Path) -> bytes | Path:
    """Name of a file for libsndfile: on POSIX its bytes, because soundfile encodes text as strict UTF-8."""
    return os.fsencode(path) if os.name == "posix" else path


def _opens(path: Path) -> bool:
    try:
        with soundfile.SoundFile(libsndfile_name(path)):
            return True
    except (soundfile.SoundFileError, TypeError):
        return False
