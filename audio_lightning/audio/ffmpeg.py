"""Decoding with the ffmpeg program: M4A, AAC, WMA, WebM and other formats that libsndfile does not read.

The program is an installed ffmpeg, or the one of the package imageio-ffmpeg. The container format is given explicitly,
by the first bytes of the file, and ffmpeg may open only local files, so that a playlist that is named like a recording
cannot lead to other files or addresses.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from audio_lightning.core.errors import AudioError

MAX_BYTES = 2**33
"""Maximum size of a decoded recording in bytes of float32 samples."""

MAX_SECONDS_OF_WORK = 900

STATING_DURATION = ("asf", "matroska", "mov")
"""Containers whose header states the duration; for others, ffmpeg estimates it."""

TOLERANCE = 0.5
"""Seconds by which a recording may be shorter than stated: another track may be longer, and padding is removed."""

AU_HEADER_BYTES = 24

LACKING = "needs ffmpeg to be decoded, which is not installed; install ffmpeg, or pip install 'audio-lightning[ffmpeg]'"


def executable() -> str | None:
    """Path of the ffmpeg program; None if there is none."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # imageio-ffmpeg lacks a program for some platforms
        return None


def is_outdated(error: str) -> bool:
    """Whether a recorded error says that ffmpeg was missing, while it is installed now."""
    return LACKING in error and executable() is not None


def decode_to_file(path: Path, demuxer: str) -> BinaryIO:
    """Decode a recording into a temporary file: Sun/NeXT audio with float32 samples.

    Args:
        path: the recording.
        demuxer: ffmpeg's name of the container.

    Raises:
        AudioError: ffmpeg is not installed, cannot decode the recording, or would write more than :data:`MAX_BYTES`.
    """
    program = executable()
    if program is None:
        raise AudioError(f"{path}: {LACKING}")
    decoded = tempfile.TemporaryFile()  # noqa: SIM115 - returned open
    line = [program, "-hide_banner", "-nostdin", "-nostats", "-v", "level+info", "-xerror", "-threads", "1"]
    line += ["-protocol_whitelist", "file"]
    line += ["-f", demuxer, "-i", f"file:{os.path.abspath(path)}", "-map", "0:a:0", "-map_metadata", "-1"]
    line += ["-c:a", "pcm_f32be", "-fs", str(MAX_BYTES), "-f", "au", "pipe:1"]
    try:
        done = subprocess.run(line, stdout=decoded, stderr=subprocess.PIPE, timeout=MAX_SECONDS_OF_WORK)
        reason = _failure(done, decoded, demuxer)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason is not None:
        decoded.close()
        raise AudioError(f"{path}: cannot be decoded by ffmpeg ({reason}); replace the file or leave it out")
    decoded.seek(0)
    return decoded


def _failure(done: "subprocess.CompletedProcess[bytes]", decoded: BinaryIO, demuxer: str) -> str | None:
    """Reason why ffmpeg's output cannot be used; None if it can."""
    output = done.stderr.decode(errors="replace")
    size = decoded.seek(0, os.SEEK_END)
    if size >= MAX_BYTES:
        return f"more than {MAX_BYTES // 2**30} GiB of samples"
    if errors := re.findall(r"\[(?:error|fatal)\] (.*)", output):
        return str(errors[-1]).strip()
    if done.returncode != 0 or size <= AU_HEADER_BYTES:
        return "no reason given" if done.returncode else "it contains no audio"
    stated = re.search(r"Duration: (\d+):(\d+):([\d.]+)", output) if demuxer in STATING_DURATION else None
    decoded.seek(0)
    _, start, _, _, rate, channels = struct.unpack(">6I", decoded.read(AU_HEADER_BYTES))
    seconds = (size - start) / (4 * channels * rate)
    if stated and (wanted := int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3])) > seconds + TOLERANCE:
        return f"truncated: holds {seconds:.3f} s, its header says {wanted:.3f} s"
    return None
