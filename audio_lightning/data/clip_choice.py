"""What the clip settings that are ``auto`` are for some recordings, and why.

Nothing here looks at labels: a classifier may be tested on any of the recordings.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from audio_lightning.core.task import Padding
from audio_lightning.data.settings import ClipSettings, ClipShape

RATES = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 250_000, 384_000)
"""Sample rates to choose from in hertz, beside that of the recordings themselves."""

USUAL_RATE = 22_050
"""Hertz up to which recordings keep what they hold. A higher rate costs more, and rarely tells more."""

HIGH_SHARE = 0.2
"""Share of energy above :data:`~audio_lightning.data.store.measurements.HIGH` from which a higher rate is worth it."""

LONGEST_CLIP = 5.0
"""Seconds of the longest clip that is chosen: that of ESC-50, and of the windows of bird classifiers. In a longer one a
short sound drowns."""

SHORTEST_CLIP = 0.25
"""Seconds of the shortest one, in which a front end finds some ten frames."""

LEFT_OUT = 0.01
"""Share of what sounds that one clip a recording may leave out before recordings are cut into windows."""

SHORT = 0.5
"""Share of a clip below which a recording counts as short, and :data:`MANY_SHORT`, the share of short ones from which
they are repeated: otherwise a network would see silence more than sound."""

MANY_SHORT = 0.1


@dataclass(frozen=True)
class ClipChoice:
    """The clip settings of a data set.

    Attributes:
        shape: all of them, as numbers.
        reasons: from the key of each that was ``auto``, such as ``clip_seconds``, to a clause that says why.
    """

    shape: ClipShape
    reasons: dict[str, str]


@dataclass(frozen=True)
class Stretches:
    """What clips are cut from: recordings, or parts of them.

    Attributes:
        measured: the recording of each, of type :data:`~audio_lightning.data.store.measurements.MEASURED`.
        start: second at which each begins.
        stop: second at which each ends; NaN for the end of the recording.
        marked: whether each is a part that somebody marked, and not a whole recording.
    """

    measured: Shaped[np.ndarray, "stretches"]
    start: Float[np.ndarray, "stretches"]
    stop: Float[np.ndarray, "stretches"]
    marked: bool = False

    def readable(self) -> "Stretches":
        """Those of recordings that could be read and are not silent."""
        good = self.measured["seconds"] > self.measured["lead_seconds"] + self.measured["trail_seconds"]
        return Stretches(self.measured[good], self.start[good], self.stop[good], self.marked)

    @property
    def first(self) -> Float[np.ndarray, "stretches"]:
        """Second within each stretch at which something begins to sound."""
        return np.clip(self.measured["lead_seconds"] - self.start, 0, self.length)

    @property
    def last(self) -> Float[np.ndarray, "stretches"]:
        """Second within each stretch at which nothing sounds any more."""
        return np.clip(self.measured["seconds"] - self.measured["trail_seconds"] - self.start, self.first, self.length)

    @property
    def length(self) -> Float[np.ndarray, "stretches"]:
        """Seconds of each."""
        return np.maximum(np.fmin(self.stop, self.measured["seconds"]) - self.start, 0)


def choose_clips(settings: ClipSettings, stretches: Stretches) -> ClipChoice:
    """Settle what is ``auto``.

    Args:
        settings: with numbers for what was asked for.
        stretches: of all recordings. Where nothing can be read, so that the data cannot be used anyway, the settings
            are those of most data sets.
    """
    reasons: dict[str, str] = {}
    heard = stretches.readable()
    rate, clip, hop, padding = settings.sample_rate, settings.clip_seconds, settings.hop_seconds, settings.padding
    usual = ClipShape()
    if rate == "auto":
        rate, reasons["sample_rate"] = _rate(heard) if len(heard.measured) else (usual.sample_rate, "nothing sounds")
    if clip == "auto":
        clip, reasons["clip_seconds"] = _clip(heard) if len(heard.measured) else (usual.clip_seconds, "nothing sounds")
    if hop == "auto":
        hop, reasons["hop_seconds"] = _hop(heard, clip)
    if padding == "auto":
        padding, reasons["padding"] = _padding(heard, clip)
    return ClipChoice(ClipShape(rate, clip, hop, padding), reasons)


def left_out(first: Float[np.ndarray, "stretches"], last: Float[np.ndarray, "stretches"], clip_seconds: float) -> float:
    """Share of what sounds that one clip from the beginning of each stretch leaves out.

    Args:
        first: second within each stretch at which something begins to sound.
        last: second at which nothing sounds any more.
        clip_seconds: length of a clip.
    """
    sounding = (last - first).sum()
    return float((last - np.clip(clip_seconds, first, last)).sum() / sounding) if sounding > 0 else 0.0


def _rate(heard: Stretches) -> tuple[int, str]:
    """The lowest rate that holds what nearly all recordings hold."""
    own = int(np.median(heard.measured["sample_rate"]))
    bandwidth = float(np.percentile(heard.measured["bandwidth"], 95))
    high = float(np.median(heard.measured["high_share"]))
    most = own if high > HIGH_SHARE else min(own, USUAL_RATE)
    chosen = min([rate for rate in RATES if 2 * bandwidth <= rate < most], default=most)
    what = f"recordings of {own:,} Hz with sound up to {bandwidth:,.0f} Hz"
    if chosen == most < own and 2 * bandwidth > most:
        what += ", little of it above 10,000 Hz"
    return chosen, what


def _clip(heard: Stretches) -> tuple[float, str]:
    """The length of most stretches, where it is not too long."""
    lasting = heard.last if not heard.marked else heard.length
    most, nearly_all = np.percentile(lasting, (75, 95))
    what = "marked parts" if heard.marked else "recordings"
    if nearly_all <= 1.3 * most:
        wanted, why = float(nearly_all), f"95 % of the {what} sound for at most {nearly_all:.2f} s"
    else:
        wanted, why = float(most), f"75 % of the {what} sound for at most {most:.2f} s"
    if wanted > LONGEST_CLIP:
        return LONGEST_CLIP, f"most {what} are longer (the median lasts {np.median(lasting):.1f} s)"
    return max(SHORTEST_CLIP, _rounded_up(wanted)), why


def _rounded_up(seconds: float) -> float:
    """To a twentieth of a second, or half a second from two seconds on; a thousandth more is no reason for a step."""
    step = 0.5 if seconds > 2 else 0.05
    return round(float(np.ceil((seconds - 1e-3) / step)) * step, 2)


def _hop(heard: Stretches, clip: float) -> tuple[float | None, str]:
    missed = left_out(heard.first, heard.last, clip)
    if missed <= LEFT_OUT:
        return None, f"one clip of {clip:g} s a recording leaves out {missed:.1%} of what sounds"
    return clip, f"one clip of {clip:g} s a recording would leave out {missed:.0%} of what sounds"


def _padding(heard: Stretches, clip: float) -> tuple[Padding, str]:
    short = float(np.mean(heard.length < SHORT * clip)) if len(heard.measured) else 0.0
    why = f"{short:.0%} of the recordings last less than half a clip"
    return ("repeat" if short >= MANY_SHORT else "zero"), why
