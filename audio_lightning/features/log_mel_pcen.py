"""Log-mel spectrogram and per-channel energy normalization, side by side."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import FilteredSpectrogram, MelFilters, MelNorm, MelScale
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.pcen import GainControl
from audio_lightning.features.stft import Decibel


class LogMelPCEN(FrontEnd):
    """The pictures of :class:`LogMel` and of one or more :class:`PCEN` as channels, [B, T] to [B, C, n_mels, frames].

    The first channel keeps how loud a sound is and all that goes on behind it; the others take both away, each with a
    memory of its own (multi-rate PCEN: Ick & McFee 2021, arXiv 2102.03468). Networks that each see one of the channels
    err on different clips: ``ensemble=2 ensemble_input=channel``. All come from one Fourier transform.

    Args:
        n_mels: number of mel bands.
        window_seconds: length of the Hann window.
        hop_seconds: distance of two frames.
        n_fft: length of the transform in samples; None for the smallest power of two that holds the window and leaves
            no mel filter empty.
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
        mel_scale: ``"htk"`` or ``"slaney"``.
        norm: ``"slaney"`` for bands of equal area, None for equal height.
        top_db: see :class:`LogMel`.
        time_constants_seconds: memory of the gain control in each channel but the first.
        gain, bias, power: see :class:`PCEN`.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are those of each channel.

    Raises:
        ConfigError: an option that cannot work, also no time constant at all.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        n_fft: int | None = None,
        f_min: float = 20,
        f_max: float | None = None,
        mel_scale: MelScale = "htk",
        norm: MelNorm = None,
        top_db: float | None = 80,
        time_constants_seconds: Sequence[float] = (0.4,),
        gain: float = 0.98,
        bias: float = 2,
        power: float = 0.5,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        filters = MelFilters(sample_rate, n_mels, f_min, f_max, mel_scale, norm)
        self.mel = FilteredSpectrogram(filters, window_seconds=window_seconds, hop_seconds=hop_seconds, n_fft=n_fft)
        self.decibel = Decibel(top_db)
        if not time_constants_seconds:
            raise ConfigError("time_constants_seconds is empty, expected one number or more; feature=logmel has none")
        frame_rate = sample_rate / self.mel.power.hop_length
        self.controls = nn.ModuleList(
            GainControl(n_mels, frame_rate, time_constant_seconds=seconds, gain=gain, bias=bias, power=power)
            for seconds in time_constants_seconds
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels mels frames"]:
        """The log-mel spectrogram, and the normalized magnitudes for each time constant."""
        power = self.mel.power(waveform)
        decibels = self.decibel(self.mel.weights @ power)
        magnitude = self.mel.weights @ power.sqrt()
        return torch.stack([decibels, *(control(magnitude) for control in self.controls)], dim=1)
