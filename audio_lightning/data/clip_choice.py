"""Inference of clip settings that are ``auto`` from the recordings.

Labels are not used: any of the recordings may be in the test set.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from audio_lightning.core.task import Padding
from audio_lightning.data.settings import ClipSettings, ClipShape

RATES = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 250_000, 384_000)
"""Candidate sample rates in hertz, in addition to the rate of the recordings."""

USUAL_RATE = 22_050
"""Maximum inferred sample rate in hertz, unless :data:`HIGH_SHARE` is exceeded. Higher rates cost more and seldom
help."""

HIGH_SHARE = 0.2
"""Share of energy above :data:`~audio_lightning.data.store.measurements.HIGH` that justifies a higher sample rate."""

LONGEST_CLIP = 5.0
"""Maximum inferred clip length in seconds, as in ESC-50. In a longer clip, a short sound is a small part of the
input."""

SHORTEST_CLIP = 0.25
"""Minimum inferred clip length in seconds: about 25 frames of a front end with a hop of 10 ms."""

LEFT_OUT = 0.01
"""Maximum share of the sounding duration that one clip per recording may miss; beyond it, windows are used."""

SHORT = 0.5
"""Share of a clip below which a recording counts as short."""

MANY_SHORT = 0.1
"""Share of short recordings from which clips are padded by repetition. With zeros, much of the network's input would be
silence."""


@dataclass(frozen=True)
class ClipChoice:
    """Inferred clip settings of a data set.

    Attributes:
        shape: all settings, without ``auto``.
        reasons: for each setting that was ``auto``, such as ``clip_seconds``, a clause with the reason.
    """

    shape: ClipShape
    reasons: dict[str, str]


@dataclass(frozen=True)
class Stretches:
    """Segments from which clips are cut: whole recordings, or annotated parts of them.

    Attributes:
        measured: measurements of each segment's recording, of type
            :data:`~audio_lightning.data.store.measurements.MEASURED`.
        start: start of each segment in seconds.
        stop: end of each segment in seconds; NaN for the end of the recording.
        marked: whether the segments are annotated parts, not whole recordings.
    """

    measured: Shaped[np.ndarray, "stretches"]
    start: Float[np.ndarray, "stretches"]
    stop: Float[np.ndarray, "stretches"]
    marked: bool = False

    def readable(self) -> "Stretches":
        """Segments of recordings that can be read and are not silent."""
        good = self.measured["seconds"] > self.measured["lead_seconds"] + self.measured["trail_seconds"]
        return Stretches(self.measured[good], self.start[good], self.stop[good], self.marked)

    @property
    def first(self) -> Float[np.ndarray, "stretches"]:
        """Start of the sound in each segment in seconds, from the start of the segment."""
        return np.clip(self.measured["lead_seconds"] - self.start, 0, self.length)

    @property
    def last(self) -> Float[np.ndarray, "stretches"]:
        """End of the sound in each segment in seconds, from the start of the segment."""
        return np.clip(self.measured["seconds"] - self.measured["trail_seconds"] - self.start, self.first, self.length)

    @property
    def length(self) -> Float[np.ndarray, "stretches"]:
        """Duration of each segment in seconds."""
        return np.maximum(np.fmin(self.stop, self.measured["seconds"]) - self.start, 0)


def choose_clips(settings: ClipSettings, stretches: Stretches) -> ClipChoice:
    """Infer the settings that are ``auto``.

    Args:
        settings: clip settings; a setting that is not ``auto`` is kept.
        stretches: segments of all recordings. If none can be read or all are silent, the defaults of
            :class:`~audio_lightning.data.settings.ClipShape` are returned, since the data cannot be used anyway.
    """
    reasons: dict[str, str] = {}
    audible = stretches.readable()
    rate, clip, hop, padding = settings.sample_rate, settings.clip_seconds, settings.hop_seconds, settings.padding
    usual, none = ClipShape(), "no recording that can be read has sound"
    if rate == "auto":
        rate, reasons["sample_rate"] = _rate(audible) if len(audible.measured) else (usual.sample_rate, none)
    if clip == "auto":
        clip, reasons["clip_seconds"] = _clip(audible) if len(audible.measured) else (usual.clip_seconds, none)
    if hop == "auto":
        hop, reasons["hop_seconds"] = _hop(audible, clip)
    if padding == "auto":
        padding, reasons["padding"] = _padding(audible, clip)
    return ClipChoice(ClipShape(rate, clip, hop, padding), reasons)


def left_out(first: Float[np.ndarray, "stretches"], last: Float[np.ndarray, "stretches"], clip_seconds: float) -> float:
    """Share of the sounding duration that one clip from the beginning of each segment misses.

    Args:
        first: start of the sound in each segment in seconds.
        last: end of the sound in each segment in seconds.
        clip_seconds: length of a clip.
    """
    sounding = (last - first).sum()
    return float((last - np.clip(clip_seconds, first, last)).sum() / sounding) if sounding > 0 else 0.0


def _rate(audible: Stretches) -> tuple[int, str]:
    """Lowest sample rate that keeps the bandwidth of nearly all recordings, at most their median sample rate."""
    own = int(np.median(audible.measured["sample_rate"]))
    bandwidth = float(np.percentile(audible.measured["bandwidth"], 95))
    high = float(np.median(audible.measured["high_share"]))
    most = own if high > HIGH_SHARE else min(own, USUAL_RATE)
    chosen = min([rate for rate in RATES if 2 * bandwidth <= rate < most], default=most)
    what = f"median sample rate {own:,} Hz; 95 % of the recordings have sound up to {bandwidth:,.0f} Hz"
    if chosen == most < own and 2 * bandwidth > most:
        what += ", little of it above 10,000 Hz"
    return chosen, what


def _clip(audible: Stretches) -> tuple[float, str]:
    """Duration of most segments, up to the maximum clip length."""
    lasting = audible.last if not audible.marked else audible.length
    most, nearly_all = np.percentile(lasting, (75, 95))
    what = "annotations" if audible.marked else "recordings"
    if nearly_all <= 1.3 * most:
        wanted, why = float(nearly_all), f"95 % of the {what} sound for at most {nearly_all:.2f} s"
    else:
        wanted, why = float(most), f"75 % of the {what} sound for at most {most:.2f} s"
    if wanted > LONGEST_CLIP:
        return LONGEST_CLIP, f"most {what} are longer (the median lasts {np.median(lasting):.1f} s)"
    return max(SHORTEST_CLIP, _rounded_up(wanted)), why


def _rounded_up(seconds: float) -> float:
    """Round up to 0.05 s, or to 0.5 s above 2 s; an excess of up to 1 ms is ignored."""
    step = 0.5 if seconds > 2 else 0.05
    return round(float(np.ceil((seconds - 1e-3) / step)) * step, 2)


def _hop(audible: Stretches, clip: float) -> tuple[float | None, str]:
    missed = left_out(audible.first, audible.last, clip)
    if missed <= LEFT_OUT:
        return None, f"one clip of {clip:g} s per recording leaves out {missed:.1%} of the sounding duration"
    return clip, f"one clip of {clip:g} s per recording would leave out {missed:.0%} of the sounding duration"


def _padding(audible: Stretches, clip: float) -> tuple[Padding, str]:
    short = float(np.mean(audible.length < SHORT * clip)) if len(audible.measured) else 0.0
    why = f"{short:.0%} of the recordings last less than half a clip"
    return ("repeat" if short >= MANY_SHORT else "zero"), why
