"""Levels of the segments of a recording, and its sounding part: from the first to the last loud segment."""

import numpy as np
from jaxtyping import Float, Int64

from audio_lightning.audio.channels import SILENCE

SEGMENT_SECONDS = 0.02
"""Length of the segments of :func:`sounding_seconds`, in seconds: the precision of its result."""

QUIET = 25.0
"""Level in dB below the loudest segment at which a sound ends for :func:`sounding_seconds`: a decay of 25 dB, before it
merges with the background noise of most recordings."""


def segment_levels(mono: Float[np.ndarray, "frames"], length: int) -> Float[np.ndarray, "segments"]:
    """Compute the levels of segments in dB of full scale, at least -100 dB.

    Args:
        mono: at least one frame.
        length: frames of a segment; the last segment may be shorter.
    """
    squares = np.add.reduceat(np.square(mono, dtype=np.float64), np.arange(0, len(mono), length))
    counts = np.full(len(squares), length)
    counts[-1] = len(mono) - length * (len(squares) - 1)
    return 10 * np.log10(squares / counts + 1e-10)


def sounding_segments(levels: Float[np.ndarray, "segments"], quiet: float) -> Int64[np.ndarray, "sounding"]:
    """Return the indices of the segments that are within ``quiet`` dB of the loudest one and not silent."""
    return np.flatnonzero(levels >= max(levels.max() - quiet, 20 * np.log10(SILENCE)))


def sounding_seconds(mono: Float[np.ndarray, "frames"], sample_rate: int) -> float:
    """Measure the sounding part of a clip: seconds from the first to the last segment that is not quiet.

    A segment is quiet if its level is more than :data:`QUIET` below that of the loudest segment.

    Args:
        mono: the clip without padding; full scale is 1.
        sample_rate: in Hz.

    Returns:
        Seconds, in steps of :data:`SEGMENT_SECONDS` except at the end of the clip; 0 for silence or an empty clip.
    """
    if not len(mono):
        return 0.0
    length = max(1, round(SEGMENT_SECONDS * sample_rate))
    sounding = sounding_segments(segment_levels(mono, length), QUIET)
    if not len(sounding):
        return 0.0
    return float(min(len(mono), (sounding[-1] + 1) * length) - sounding[0] * length) / sample_rate
