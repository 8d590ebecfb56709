"""Mel filters, and the mel spectrogram that front ends build on."""

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from audio_lightning.errors import ConfigError
from audio_lightning.features.checks import count_samples, require_choice, require_positive
from audio_lightning.features.stft import PowerSpectrogram, smallest_n_fft

MelScale = Literal["htk", "slaney"]
MelNorm = Literal["slaney"] | None

# Zeros behind the window only interpolate between frequencies; filters that need more than this are a mistake.
LONGEST_PADDING = 16


@dataclass(frozen=True)
class MelFilters:
    """Triangular filters equally spaced on the mel scale.

    Attributes:
        sample_rate: rate of the waveforms in hertz.
        n_mels: number of filters.
        f_min: lower edge of the first filter in hertz.
        f_max: upper edge of the last filter in hertz; None for half the sample rate.
        mel_scale: ``"htk"``, logarithmic throughout, or ``"slaney"``, linear up to 1 kHz (Auditory Toolbox, librosa).
        norm: ``"slaney"`` gives all filters the same area, None the same height.

    Raises:
        ConfigError: options that leave no band of frequencies, or unknown names.
    """

    sample_rate: int
    n_mels: int
    f_min: float
    f_max: float | None
    mel_scale: MelScale
    norm: MelNorm

    def __post_init__(self) -> None:
        require_positive("n_mels", self.n_mels)
        require_choice("mel_scale", self.mel_scale, ["htk", "slaney"])
        require_choice("norm", self.norm, [None, "slaney"])
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

    def weights(self, n_fft: int) -> Float[Tensor, "bins mels"]:
        """Weight of each frequency of a transform of length ``n_fft`` in each filter, on the CPU."""
        # The values are looked at even where modules are built on meta; and empty filters are an error, no warning.
        with torch.device("cpu"), warnings.catch_warnings(action="ignore"):
            return melscale_fbanks(
                n_fft // 2 + 1,
                self.f_min,
                self.upper_edge,
                self.n_mels,
                self.sample_rate,
                norm=self.norm,
                mel_scale=self.mel_scale,
            ).float()

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
        fewer = range(min(self.n_mels - 1, n_fft + 2), 0, -1)
        largest = next((n for n in fewer if not replace(self, n_mels=n).count_empty(n_fft)), None)
        remedies = [
            f"n_fft={enough} (the smallest power of two that does)" if enough else "",
            f"n_mels of at most {largest}" if largest else "",
        ]
        raise ConfigError(
            f"{empty} of {self.n_mels} mel filters between {self.f_min:g} and {self.upper_edge:g} Hz are empty with "
            f"n_fft={n_fft} at {self.sample_rate} Hz: use {' or '.join(filter(None, remedies)) or 'a wider band'}"
        )


class MelSpectrogram(nn.Module):
    """Power in mel bands, [B, T] to [B, n_mels, 1 + T // hop_length].

    Args:
        filters: the mel filters, which also hold the sample rate.
        window_seconds: length of the window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and gives
            every filter a frequency.

    Raises:
        ConfigError: lengths that cannot work, or an ``n_fft`` that leaves filters empty.
    """

    weights: Tensor

    def __init__(self, filters: MelFilters, *, window_seconds: float, hop_seconds: float, n_fft: int | None) -> None:
        super().__init__()
        window_length = count_samples("window_seconds", window_seconds, filters.sample_rate)
        self.power = PowerSpectrogram(
            sample_rate=filters.sample_rate,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            n_fft=filters.choose_n_fft(window_length) if n_fft is None else n_fft,
        )
        filters.check(self.power.n_fft, window_length)
        weights = filters.weights(self.power.n_fft).T.contiguous()
        self.register_buffer("weights", weights.to(torch.get_default_device()), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch mels frames"]:
        """Power in each band in each frame."""
        return self.weights @ self.power(waveform)
