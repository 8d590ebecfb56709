"""Triangular filter banks, and spectrograms filtered by them."""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import count_samples, require_choice, require_positive, require_table
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.stft import FrameSettings, PowerSpectrogram, smallest_n_fft

MelScale = Literal["htk", "slaney"]
MelNorm = Literal["slaney"] | None

# Padding the window with zeros only interpolates between frequencies; filters that need more than this factor are a
# mistake in the options.
LONGEST_PADDING = 16


@dataclass(frozen=True)
class BandSettings(FrameSettings):
    """Frame settings of a short-time Fourier transform, and the frequency range of a filter bank.

    Attributes:
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
    """

    f_min: float = 20
    f_max: float | None = None


@dataclass(frozen=True)
class MelSettings(BandSettings):
    """Settings of a mel spectrogram, without the number of bands.

    Attributes:
        mel_scale: ``"htk"``, logarithmic throughout, or ``"slaney"``, linear up to 1 kHz (Auditory Toolbox, librosa).
        norm: ``"slaney"`` for bands of equal area, None for equal height.
    """

    mel_scale: MelScale = "htk"
    norm: MelNorm = None

    def spectrogram(
        self, sample_rate: int, n_mels: int, *, center: bool = True, magnitude: bool = False
    ) -> "FilteredSpectrogram":
        """Build the mel spectrogram; see :class:`FilteredSpectrogram` for arguments and errors."""
        filters = MelFilters(sample_rate, n_mels, self.f_min, self.f_max, self.mel_scale, self.norm)
        return FilteredSpectrogram(filters, self, center=center, magnitude=magnitude)


@dataclass(frozen=True)
class Filters(ABC):
    """Base class of banks of overlapping triangular filters; subclasses define their spacing.

    Attributes:
        sample_rate: rate of the waveforms in hertz.
        count: number of filters.
        f_min: lower edge of the first filter in hertz.
        f_max: upper edge of the last filter in hertz; None for half the sample rate.

    Raises:
        ConfigError: the options leave no frequency range.
    """

    sample_rate: int
    count: int
    f_min: float
    f_max: float | None

    name: ClassVar[str]
    """Kind of the filters, for error messages."""
    count_option: ClassVar[str]
    """Name of the option that sets the number of filters."""

    def __post_init__(self) -> None:
        require_positive(self.count_option, self.count)
        nyquist = self.sample_rate / 2
        if self.f_max is not None and self.f_max > nyquist:
            raise ConfigError(
                f"f_max is {self.f_max}, above half the sample rate of {self.sample_rate} Hz; "
                f"use null or at most {nyquist:g}"
            )
        if not 0 <= self.f_min < self.upper_edge:
            raise ConfigError(
                f"f_min is {self.f_min}, expected at least 0 and less than f_max ({self.upper_edge:g} Hz)"
            )

    @property
    def upper_edge(self) -> float:
        """Upper edge of the last filter in hertz."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    def weights(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """Weight of each frequency bin of a transform of length ``n_fft`` in each filter, on the CPU."""
        require_table(f"{self.count_option} and n_fft", n_fft // 2 + 1, self.count)
        # The values are needed even when modules are built on the meta device. Warnings about empty filters are
        # silenced here, because check() raises an error for them.
        with torch.device("cpu"), warnings.catch_warnings(action="ignore"):
            return self.triangles(n_fft).float()

    @abstractmethod
    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """Compute the filters; see :meth:`weights`."""

    def count_empty(self, n_fft: int) -> int:
        """Count the filters that lie between two frequencies of the transform, whose output is always zero."""
        return int((self.weights(n_fft).amax(0) == 0).sum())

    def choose_n_fft(self, window_length: int) -> int | None:
        """Return the smallest sensible power of two that covers the window and leaves no filter empty, or None."""
        shortest = smallest_n_fft(window_length)
        lengths = (shortest << doublings for doublings in range(LONGEST_PADDING.bit_length()))
        return next((n_fft for n_fft in lengths if not self.count_empty(n_fft)), None)

    def check(self, n_fft: int, window_length: int) -> None:
        """Raise :class:`ConfigError`, with the remedies, if a transform of length ``n_fft`` leaves filters empty."""
        if not (empty := self.count_empty(n_fft)):
            return
        enough = self.choose_n_fft(max(n_fft, window_length))
        # A frequency lies in at most two filters, so larger numbers need not be tried.
        fewer = range(min(self.count - 1, n_fft + 2), 0, -1)
        largest = next((n for n in fewer if not replace(self, count=n).count_empty(n_fft)), None)
        remedies = [
            f"n_fft={enough} (the smallest power of two that fills them)" if enough else "",
            f"{self.count_option} of at most {largest}" if largest else "",
        ]
        raise ConfigError(
            f"{empty} of {self.count} {self.name} filters between {self.f_min:g} and {self.upper_edge:g} Hz are empty "
            f"with n_fft={n_fft} at {self.sample_rate} Hz; use {' or '.join(filter(None, remedies)) or 'a wider band'}"
        )


@dataclass(frozen=True)
class MelFilters(Filters):
    """Filters equally spaced on the mel scale, triangular over the hertz axis (torchaudio, librosa).

    Attributes:
        mel_scale, norm: see :class:`MelSettings`.

    Raises:
        ConfigError: see :class:`Filters`; also an unknown ``mel_scale`` or ``norm``.
    """

    mel_scale: MelScale = "htk"
    norm: MelNorm = None

    name = "mel"
    count_option = "n_mels"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("mel_scale", self.mel_scale, ["htk", "slaney"])
        require_choice("norm", self.norm, [None, "slaney"])

    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """Compute the filters; see :meth:`weights`."""
        lowest, highest = (hertz_to_mel(hertz, self.mel_scale) for hertz in (self.f_min, self.upper_edge))
        edges = mel_to_hertz(torch.linspace(lowest, highest, self.count + 2), self.mel_scale)
        weights = triangles_between(edges, n_fft, self.sample_rate)
        return weights * (2 / (edges[2:] - edges[:-2])) if self.norm == "slaney" else weights


@dataclass(frozen=True)
class KaldiFilters(Filters):
    """Filters equally spaced on HTK's mel scale, triangular over the mel axis, as in Kaldi."""

    name = "mel"
    count_option = "n_mels"

    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """Compute the filters; see :meth:`weights`."""
        # The order of operations is Kaldi's: in narrow bands the logarithm magnifies rounding errors of the weights.
        lowest, highest = (1127 * math.log(1 + hertz / 700) for hertz in (self.f_min, self.upper_edge))
        mel = 1127 * (1 + self.sample_rate / n_fft * torch.arange(n_fft // 2 + 1) / 700).log()
        points = lowest + torch.arange(self.count + 2) * ((highest - lowest) / (self.count + 1))
        left, peak, right = points[:-2], points[1:-1], points[2:]
        rising, falling = (mel[:, None] - left) / (peak - left), (right - mel[:, None]) / (right - peak)
        return torch.minimum(rising, falling).clamp_min(0)


@dataclass(frozen=True)
class LinearFilters(Filters):
    """Filters equally spaced in hertz (linear-frequency filter bank)."""

    name = "linear"
    count_option = "n_filters"

    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """Compute the filters; see :meth:`weights`."""
        edges = torch.linspace(self.f_min, self.upper_edge, self.count + 2)
        return triangles_between(edges, n_fft, self.sample_rate)


# The functions below equal torchaudio's to the last bit: published figures and checkpoints depend on these filters.


def triangles_between(edges: Float[Tensor, "edges"], n_fft: int, sample_rate: int) -> Float[Tensor, "bins filters"]:
    """Triangles over the hertz axis; each rises from one edge to the next one, and falls to the edge after it."""
    frequencies = torch.linspace(0, sample_rate // 2, n_fft // 2 + 1)
    distances, widths = edges - frequencies[:, None], edges.diff()
    return torch.minimum(-distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]).clamp_min(0)


# Slaney's scale: linear below 1 kHz, 27 steps from there to 6.4 kHz.
SLANEY_HERTZ_PER_MEL = 200 / 3
SLANEY_LOG_HERTZ = 1000.0
SLANEY_LOG_MEL = SLANEY_LOG_HERTZ / SLANEY_HERTZ_PER_MEL
SLANEY_LOG_STEP = math.log(6.4) / 27


def hertz_to_mel(hertz: float, scale: MelScale) -> float:
    """Convert hertz to mel: O'Shaughnessy's formula, as in HTK, or the formula of Slaney's Auditory Toolbox."""
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    if hertz < SLANEY_LOG_HERTZ:
        return hertz / SLANEY_HERTZ_PER_MEL
    return SLANEY_LOG_MEL + math.log(hertz / SLANEY_LOG_HERTZ) / SLANEY_LOG_STEP


def mel_to_hertz(mels: Float[Tensor, "points"], scale: MelScale) -> Float[Tensor, "points"]:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    hertz, above = SLANEY_HERTZ_PER_MEL * mels, mels >= SLANEY_LOG_MEL
    hertz[above] = SLANEY_LOG_HERTZ * torch.exp(SLANEY_LOG_STEP * (mels[above] - SLANEY_LOG_MEL))
    return hertz


class FilteredSpectrogram(nn.Module):
    """Spectrogram in the bands of a filter bank, [B, T] to [B, filters, frames].

    Args:
        filters: the filters, which also hold the sample rate.
        frames: lengths of window, hop and transform.
        center: see :class:`PowerSpectrogram`.
        magnitude: sum magnitudes instead of powers.

    Raises:
        ConfigError: invalid lengths, or an ``n_fft`` that leaves filters empty.
    """

    weights: Tensor

    def __init__(
        self, filters: Filters, frames: FrameSettings, *, center: bool = True, magnitude: bool = False
    ) -> None:
        super().__init__()
        window_length = count_samples("window_seconds", frames.window_seconds, filters.sample_rate)
        self.magnitude = magnitude
        n_fft = filters.choose_n_fft(window_length) if frames.n_fft is None else frames.n_fft
        self.power = PowerSpectrogram(filters.sample_rate, replace(frames, n_fft=n_fft), center=center)
        filters.check(self.power.n_fft, window_length)
        weights = filters.weights(self.power.n_fft).T.contiguous()
        self.register_buffer("weights", weights.to(torch.get_default_device()), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch filters frames"]:
        """Compute the power, or the magnitude, of each band in each frame."""
        spectrogram = self.power(waveform)
        return self.weights @ (spectrogram.sqrt() if self.magnitude else spectrogram)
