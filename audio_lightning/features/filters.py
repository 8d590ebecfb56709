"""Triangular filters over the frequencies of a transform, and the spectrogram in their bands."""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchaudio.functional import linear_fbanks, melscale_fbanks

from audio_lightning.errors import ConfigError
from audio_lightning.features.checks import count_samples, require_choice, require_positive, require_table
from audio_lightning.features.stft import PowerSpectrogram, smallest_n_fft

MelScale = Literal["htk", "slaney"]
MelNorm = Literal["slaney"] | None

# Zeros behind the window only interpolate between frequencies; filters that need more than this are a mistake.
LONGEST_PADDING = 16


@dataclass(frozen=True)
class Filters(ABC):
    """Overlapping triangles between two frequencies; subclasses say how they are spaced.

    Attributes:
        sample_rate: rate of the waveforms in hertz.
        count: number of filters.
        f_min: lower edge of the first filter in hertz.
        f_max: upper edge of the last filter in hertz; None for half the sample rate.

    Raises:
        ConfigError: options that leave no band of frequencies.
    """

    sample_rate: int
    count: int
    f_min: float
    f_max: float | None

    name: ClassVar[str]
    """What the filters are called in messages."""
    count_option: ClassVar[str]
    """The option that holds their number."""

    def __post_init__(self) -> None:
        require_positive(self.count_option, self.count)
        nyquist = self.sample_rate / 2
        if self.f_max is not None and self.f_max > nyquist:
            raise ConfigError(
                f"f_max is {self.f_max}, above half the sample rate of {self.sample_rate} Hz: "
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
        """Weight of each frequency of a transform of length ``n_fft`` in each filter, on the CPU."""
        require_table(f"{self.count_option} and n_fft", n_fft // 2 + 1, self.count)
        # The values are looked at even where modules are built on meta; and empty filters are an error, no warning.
        with torch.device("cpu"), warnings.catch_warnings(action="ignore"):
            return self.triangles(n_fft).float()

    @abstractmethod
    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """The filters; see :meth:`weights`."""

    def count_empty(self, n_fft: int) -> int:
        """Number of filters that lie between two frequencies of the transform and would always give zero."""
        return int((self.weights(n_fft).amax(0) == 0).sum())

    def choose_n_fft(self, window_length: int) -> int | None:
        """The smallest power of two that holds the window and leaves no filter empty, if a sensible one does."""
        shortest = smallest_n_fft(window_length)
        lengths = (shortest << doublings for doublings in range(LONGEST_PADDING.bit_length()))
        return next((n_fft for n_fft in lengths if not self.count_empty(n_fft)), None)

    def check(self, n_fft: int, window_length: int) -> None:
        """Raise :class:`ConfigError`, naming the ways out, if a transform of length ``n_fft`` leaves filters empty."""
        if not (empty := self.count_empty(n_fft)):
            return
        enough = self.choose_n_fft(max(n_fft, window_length))
        # A frequency lies in two filters at most, so there is no use in trying more than that.
        fewer = range(min(self.count - 1, n_fft + 2), 0, -1)
        largest = next((n for n in fewer if not replace(self, count=n).count_empty(n_fft)), None)
        remedies = [
            f"n_fft={enough} (the smallest power of two that does)" if enough else "",
            f"{self.count_option} of at most {largest}" if largest else "",
        ]
        raise ConfigError(
            f"{empty} of {self.count} {self.name} filters between {self.f_min:g} and {self.upper_edge:g} Hz are empty "
            f"with n_fft={n_fft} at {self.sample_rate} Hz: use {' or '.join(filter(None, remedies)) or 'a wider band'}"
        )


@dataclass(frozen=True)
class MelFilters(Filters):
    """Filters equally spaced on the mel scale, with straight sides over the hertz axis (torchaudio, librosa).

    Attributes:
        mel_scale: ``"htk"``, logarithmic throughout, or ``"slaney"``, linear up to 1 kHz (Auditory Toolbox, librosa).
        norm: ``"slaney"`` gives all filters the same area, None the same height.

    Raises:
        ConfigError: see :class:`Filters`; also unknown names.
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
        """The filters; see :meth:`weights`."""
        bins, upper = n_fft // 2 + 1, self.upper_edge
        return melscale_fbanks(bins, self.f_min, upper, self.count, self.sample_rate, self.norm, self.mel_scale)


@dataclass(frozen=True)
class KaldiFilters(Filters):
    """Filters equally spaced on HTK's mel scale, with straight sides over the mel axis, as Kaldi has them."""

    name = "mel"
    count_option = "n_mels"

    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """The filters; see :meth:`weights`."""
        # Step for step as Kaldi does it: in narrow bands the logarithm shows the last bits of the weights.
        lowest, highest = (1127 * math.log(1 + hertz / 700) for hertz in (self.f_min, self.upper_edge))
        mel = 1127 * (1 + self.sample_rate / n_fft * torch.arange(n_fft // 2 + 1) / 700).log()
        points = lowest + torch.arange(self.count + 2) * ((highest - lowest) / (self.count + 1))
        left, peak, right = points[:-2], points[1:-1], points[2:]
        rising, falling = (mel[:, None] - left) / (peak - left), (right - mel[:, None]) / (right - peak)
        return torch.minimum(rising, falling).clamp_min(0)


@dataclass(frozen=True)
class LinearFilters(Filters):
    """Filters equally spaced in hertz."""

    name = "linear"
    count_option = "n_filters"

    def triangles(self, n_fft: int) -> Float[Tensor, "bins filters"]:
        """The filters; see :meth:`weights`."""
        return linear_fbanks(n_fft // 2 + 1, self.f_min, self.upper_edge, self.count, self.sample_rate)


class FilteredSpectrogram(nn.Module):
    """Power, or magnitude, in the bands of filters, [B, T] to [B, filters, frames].

    Args:
        filters: the filters, which also hold the sample rate.
        window_seconds: length of the window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and gives
            every filter a frequency.
        center: see :class:`PowerSpectrogram`.
        magnitude: weigh and add up magnitudes in place of powers.

    Raises:
        ConfigError: lengths that cannot work, or an ``n_fft`` that leaves filters empty.
    """

    weights: Tensor

    def __init__(
        self,
        filters: Filters,
        *,
        window_seconds: float,
        hop_seconds: float,
        n_fft: int | None,
        center: bool = True,
        magnitude: bool = False,
    ) -> None:
        super().__init__()
        window_length = count_samples("window_seconds", window_seconds, filters.sample_rate)
        self.magnitude = magnitude
        self.power = PowerSpectrogram(
            sample_rate=filters.sample_rate,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            n_fft=filters.choose_n_fft(window_length) if n_fft is None else n_fft,
            center=center,
        )
        filters.check(self.power.n_fft, window_length)
        weights = filters.weights(self.power.n_fft).T.contiguous()
        self.register_buffer("weights", weights.to(torch.get_default_device()), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch filters frames"]:
        """Power, or magnitude, in each band in each frame."""
        spectrogram = self.power(waveform)
        return self.weights @ (spectrogram.sqrt() if self.magnitude else spectrogram)
