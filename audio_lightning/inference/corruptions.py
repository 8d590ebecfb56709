"""Corruptions of fixed strength for robustness benchmarks: noise, level, reverberation, codecs and others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.audio import fit_length, resample
from audio_lightning.augment.codec import Codec, compression_of
from audio_lightning.augment.colored_noise import ColoredNoise
from audio_lightning.augment.filter import Filter
from audio_lightning.augment.gain import Gain
from audio_lightning.augment.mu_law import MuLaw
from audio_lightning.augment.reverberation import Reverberation
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask

Clip = Float[Tensor, "1 samples"]
Corrupt = Callable[[Clip], Clip]

SNR_DB = (30, 20, 10, 0)
GAIN_DB = (12, 6, -10, -20, -30, -40)
RT60_SECONDS = (0.3, 0.8, 1.5)
DIRECT_DB = 0.0
"""Direct-to-reverberant ratio in dB: a source at the critical distance of the room."""
KILOBITS = {"mp3": (128, 64, 32, 16), "opus": (64, 32, 16)}
TITLES = {"mp3": "MP3", "opus": "Opus"}
SHIFT_PERCENT = (-25, -10, 10, 25)
CLIPPED_PERCENT = (1, 5, 20)
KILOHERTZ = (16, 8, 4)

TELEPHONE_RATE = 8000
TELEPHONE_BAND = (300.0, 3400.0)
TELEPHONE_ORDER = 4


@dataclass(frozen=True)
class Condition:
    """A corruption at one strength.

    Attributes:
        corruption: kind of corruption, a key of :data:`CORRUPTIONS`.
        series: name of the conditions that differ only in strength, such as ``white noise``.
        value: the strength; None if there is only one.
        unit: unit of the strength.
        corrupt: function that returns a corrupted copy of a clip; may use torch's global random generator.
        padded: whether the corruption applies to the padded clip; otherwise it applies to the sound, which is padded
            afterwards.
    """

    corruption: str
    series: str
    value: float | None
    unit: str
    corrupt: Corrupt
    padded: bool = False

    @property
    def name(self) -> str:
        """Series, strength and unit as text."""
        return self.series if self.value is None else f"{self.series}, {self.value:g} {self.unit}"

    def apply(
        self, waveform: Float[Tensor, "samples"], length: int, task: AudioTask, seed: tuple[int, ...]
    ) -> Float[Tensor, "samples"]:
        """Corrupt a clip deterministically: torch's global generator is seeded from ``seed`` and the condition.

        Args:
            waveform: padded clip.
            length: samples before the padding.
            task: task of the classifier; its ``padding`` is used.
            seed: nonnegative integers.
        """
        entropy = np.random.SeedSequence([*seed, crc32(self.name.encode())])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        if self.padded:
            return self.corrupt(waveform[None])[0]
        changed = self.corrupt(waveform[None, : max(1, length)])[0]
        return torch.from_numpy(fit_length(changed.numpy(), len(waveform), task.padding))


def conditions(sample_rate: int, only: Iterable[str] = ()) -> list[Condition]:
    """List all conditions for clips of a sample rate.

    Args:
        sample_rate: in Hz. Bit rates that a codec does not support at this sample rate are left out, and so are
            sample rates that are not lower.
        only: keys of :data:`CORRUPTIONS`; empty for all.

    Raises:
        ConfigError: an unknown key, or no condition at this sample rate.
    """
    only = list(only)
    for name in only:
        if name not in CORRUPTIONS:
            raise ConfigError(
                f"--only {name}: no such corruption" + did_you_mean(name, CORRUPTIONS, listing="corruptions")
            )
    chosen = [kind for kind in CORRUPTIONS if not only or kind in only]
    found = [condition for kind in chosen for condition in CORRUPTIONS[kind](sample_rate)]
    if not found:
        raise ConfigError(f"--only {','.join(only)}: has no effect on clips of {sample_rate:,} Hz; leave it out")
    return found


def _noise(sample_rate: int) -> Iterator[Condition]:
    for color in ("white", "pink"):
        for snr in SNR_DB:
            module = ColoredNoise(sample_rate=sample_rate, snr_db=(snr, snr), colors=[color])
            yield Condition("noise", f"{color} noise", snr, "dB SNR", module.augment)


def _level(sample_rate: int) -> Iterator[Condition]:
    for gain in GAIN_DB:
        yield Condition("level", "gain", gain, "dB", Gain(sample_rate=sample_rate, gain_db=(gain, gain)).augment)


def _reverberation(sample_rate: int) -> Iterator[Condition]:
    for seconds in RT60_SECONDS:
        module = Reverberation(
            sample_rate=sample_rate, rt60_seconds=(seconds, seconds), direct_db=(DIRECT_DB, DIRECT_DB)
        )
        yield Condition("reverberation", "RT60", seconds, "s", module.augment)


def _codec(sample_rate: int) -> Iterator[Condition]:
    """Lossy codecs, without the formats that the installed libsndfile cannot write."""
    for name, rates in KILOBITS.items():
        for kilobits in rates:
            compression = compression_of(name, kilobits, sample_rate)
            if compression is None:
                continue
            try:
                module = Codec(sample_rate=sample_rate, formats=[name], compression=(compression, compression))
            except ConfigError:
                break
            yield Condition("codec", TITLES[name], kilobits, "kbit/s", module.augment)


def _telephone(sample_rate: int) -> Iterator[Condition]:
    """Telephone channel: band-pass of 300 to 3400 Hz, 8 kHz sample rate and mu-law coding."""
    low, high = TELEPHONE_BAND
    band = Filter(sample_rate=TELEPHONE_RATE, low_hz=(low, low), high_hz=(high, high), order=TELEPHONE_ORDER)
    coding = MuLaw(sample_rate=TELEPHONE_RATE)

    def call(x: Clip) -> Clip:
        return _resampled(coding.augment(band.augment(_resampled(x, sample_rate, TELEPHONE_RATE))), TELEPHONE_RATE,
                          sample_rate, x.shape[1])  # fmt: skip

    yield Condition("telephone", "telephone", None, "", call)


def _shift(sample_rate: int) -> Iterator[Condition]:
    for percent in SHIFT_PERCENT:
        yield Condition("shift", "shift", percent, "% of a clip", partial(shifted, percent=percent), padded=True)


def _clipping(sample_rate: int) -> Iterator[Condition]:
    for percent in CLIPPED_PERCENT:
        yield Condition("clipping", "clipping", percent, "% of the samples", partial(clipped, percent=percent))


def _sample_rate(sample_rate: int) -> Iterator[Condition]:
    for kilohertz in KILOHERTZ:
        if (rate := 1000 * kilohertz) < sample_rate:
            yield Condition("sample_rate", "sample rate", kilohertz, "kHz", partial(_through, rate, sample_rate))


CORRUPTIONS: dict[str, Callable[[int], Iterator[Condition]]] = {
    "noise": _noise,
    "level": _level,
    "reverberation": _reverberation,
    "codec": _codec,
    "telephone": _telephone,
    "shift": _shift,
    "clipping": _clipping,
    "sample_rate": _sample_rate,
}
"""Kinds of corruption, each with the function that yields its conditions at a sample rate."""


def shifted(x: Clip, percent: float) -> Clip:
    """Delay a clip by a percentage of its length (advance it, if negative), filled with zeros."""
    samples = round(percent / 100 * x.shape[1])
    return functional.pad(x, (max(0, samples), max(0, -samples)))[:, max(0, -samples) :][:, : x.shape[1]]


def clipped(x: Clip, percent: float) -> Clip:
    """Clip the loudest samples, a percentage of the nonzero ones, without restoring the level."""
    sounding = x[x != 0].abs()
    if not len(sounding):
        return x
    limit = float(np.quantile(sounding.numpy(), 1 - percent / 100))
    return x.clamp(-limit, limit)


def _through(rate: int, sample_rate: int, x: Clip) -> Clip:
    """Resample a clip to a lower rate and back, as if it had been recorded at that rate."""
    return _resampled(_resampled(x, sample_rate, rate), rate, sample_rate, x.shape[1])


def _resampled(x: Clip, rate: int, wanted: int, samples: int | None = None) -> Float[Tensor, "1 other_samples"]:
    found = resample(x[0].numpy(), rate, wanted)
    return torch.from_numpy(found if samples is None else fit_length(found, samples, "zero"))[None]
