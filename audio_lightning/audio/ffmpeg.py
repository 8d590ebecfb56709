"""Decoding with the ffmpeg program: M4A, AAC, WMA, WebM and other formats that libsndfile does not read.

ffmpeg is used where it is installed, or where the package imageio-ffmpeg brings it. It is told the container that the
first bytes show, and may open nothing but the one file: a playlist under the name of a recording leads nowhere.
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
"""Most bytes of float32 samples that a recording is decoded to."""

MAX_SECONDS_OF_WORK = 900

STATING_DURATION = ("asf", "matroska", "mov")
"""Containers whose header states how long they are; of others ffmpeg makes a guess."""

TOLERANCE = 0.5
"""Seconds by which a recording may be shorter than stated: another track may be longer, and padding is cut off."""

AU_HEADER_BYTES = 24

LACKING = "needs ffmpeg to be decoded, which is not installed; install ffmpeg, or pip install 'audio-lightning[ffmpeg]'"


def executable() -> str | None:
    """Path of the ffmpeg program; None where there is none."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # the package has no program for every platform
        return None


def is_outdated(error: str) -> bool:
    """Whether a recording was refused for want of ffmpeg, which is there now."""
    return LACKING in error and executable() is not None


def decode_to_file(path: Path, demuxer: str) -> BinaryIO:
    """Decode a recording into a temporary file: Sun/NeXT audio with float32 samples.

    Args:
        path: the recording.
        demuxer: ffmpeg's name of its container.

    Raises:
        AudioError: ffmpeg is not installed, cannot decode the recording, or would write more than :data:`MAX_BYTES`.
    """
    program = executable()
    if program is None:
        raise AudioError(f"{path}: {LACKING}")
    decoded = tempfile.TemporaryFile()  # noqa: SIM115 - it is handed out open
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
    """Why what ffmpeg wrote cannot be used; None where it can."""
    said = done.stderr.decode(errors="replace")
    size = decoded.seek(0, os.SEEK_END)
    if size >= MAX_BYTES:
        return f"more than {MAX_BYTES // 2**30} GiB of samples"
    if errors := re.findall(r"\[(?:error|fatal)\] (.*)", said):
        return str(errors[-1]).strip()
    if done.returncode != 0 or size <= AU_HEADER_BYTES:
        return "no reason given" if done.returncode else "it holds no sound"
    stated = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said) if demuxer in STATING_DURATION else None
    decoded.seek(0)
    _, start, _, _, rate, channels = struct.unpack(">6I", decoded.read(AU_HEADER_BYTES))
    seconds = (size - start) / (4 * channels * rate)
    if stated and (wanted := int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3])) > seconds + TOLERANCE:
        return f"truncated: holds {seconds:.3f} s, its header says {wanted:.3f} s"
    return None
