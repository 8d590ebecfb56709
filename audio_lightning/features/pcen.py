"""Per-channel energy normalization (PCEN) front end."""

import math
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_positive
from audio_lightning.core.settings import Settings
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import NormalizeMode

FLOOR = 1e-6


@dataclass(frozen=True)
class GainSettings(Settings):
    """Settings of an automatic gain control and the root compression after it.

    Attributes:
        gain: exponent of the smoothed level to divide by; 1 removes the level completely.
        bias: offset before the root; smaller values emphasize quieter sounds.
        power: exponent of the root.
    """

    gain: float = 0.98
    bias: float = 2
    power: float = 0.5


class PCEN(FrontEnd):
    """Mel spectrogram with per-channel energy normalization, [B, T] to [B, 1, n_mels, frames].

    Each magnitude E is divided by a power of its own smoothed past M and compressed by a root. This removes stationary
    noise, the distance of the source and the colour of the channel:
    (E / (1e-6 + M)^gain + bias)^power - bias^power, with M[t] = (1 - s) M[t - 1] + s E[t] and M[0] = E[0]
    (Wang et al. 2017, arXiv 1607.05666). As in Lostanlen et al. 2019 and librosa, E are magnitudes instead of powers,
    and s is derived from the time constant.

    Args:
        n_mels: number of mel bands.
        mel: settings of frames and filters.
        time_constant_seconds: time constant of the smoothing in seconds.
        control: gain, bias and power of the formula.
        learnable: whether smoothing, gain, bias and power are trained, separately in every band; the given values
            are the initial ones.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.pcen import PCEN
        >>> front_end = PCEN(sample_rate=16000, num_samples=16000, learnable=True, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape
        torch.Size([2, 1, 64, 101])
        >>> sum(parameter.numel() for parameter in front_end.parameters())  # 4 in each of 64 bands
        256
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 64,
        mel: MelSettings = MelSettings(),
        time_constant_seconds: float = 0.4,
        control: GainSettings = GainSettings(),
        learnable: bool = False,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = mel.spectrogram(sample_rate, n_mels, magnitude=True)
        self.learnable = learnable
        frame_rate = sample_rate / self.mel.power.hop_length
        self.control = GainControl(
            n_mels, frame_rate, control, time_constant_seconds=time_constant_seconds, learnable=learnable
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """Compute the normalized magnitudes as a spectrogram with one channel."""
        return self.control(self.mel(waveform)).unsqueeze(1)


class GainControl(nn.Module):
    """Automatic gain control and root compression of :class:`PCEN`, [B, bins, frames] to the same shape.

    Args:
        bins: number of bands.
        frame_rate: frames per second.
        settings: gain, bias and power.
        time_constant_seconds, learnable: see :class:`PCEN`.

    Raises:
        ConfigError: a number that is not positive.
    """

    smoothing_logit: Tensor
    log_gain: Tensor
    log_bias: Tensor
    log_power: Tensor

    def __init__(
        self,
        bins: int,
        frame_rate: float,
        settings: GainSettings,
        *,
        time_constant_seconds: float,
        learnable: bool = False,
    ) -> None:
        super().__init__()
        require_positive("time_constant_seconds", time_constant_seconds)
        self.learnable = learnable
        # The logarithms are trained, as in the paper: no optimizer step can make a parameter negative.
        self._register("smoothing_logit", smoothing_logit(time_constant_seconds * frame_rate), bins)
        for name, value in asdict(settings).items():
            require_positive(name, value)
            self._register(f"log_{name}", math.log(value), bins)

    def forward(self, magnitude: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
        """Normalize magnitudes."""
        bias, power = self.log_bias.exp(), self.log_power.exp()
        level = smooth(magnitude, self.smoothing_logit.sigmoid())
        controlled = magnitude * (-self.log_gain.exp() * (FLOOR + level).log()).exp()
        # The formula in the docstring of PCEN, without the difference of two almost equal numbers in quiet frames.
        return bias**power * torch.expm1(power * torch.log1p(controlled / bias))

    def _register(self, name: str, start: float, bins: int) -> None:
        value = torch.full((bins, 1), start, dtype=torch.float32)
        if self.learnable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value, persistent=False)


def smoothing_logit(frames: float) -> float:
    """Logit of the coefficient s of a first-order filter with a time constant of ``frames``.

    s = 2 / (1 + sqrt(1 + 4 frames^2)), equivalent to librosa's formula.
    """
    return math.log(2 / math.expm1(math.log1p(4 * frames**2) / 2))


def smooth(
    values: Float[Tensor, "batch bins frames"], coefficient: Float[Tensor, "bins 1"]
) -> Float[Tensor, "batch bins frames"]:
    """First-order recursive smoothing over the frames, initialized with the first frame.

    A parallel prefix sum (Hillis & Steele 1986): every pass doubles the number of past frames included. That takes a
    few operations on whole tensors; a recursion would take one for each frame.
    """
    frames = values.shape[-1]
    smoothed = torch.cat([values[..., :1], coefficient * values[..., 1:]], dim=-1)
    decay, reach = 1 - coefficient, 1
    while reach < frames:
        earlier = nn.functional.pad(smoothed[..., :-reach], (reach, 0))
        smoothed = smoothed + decay * earlier
        decay, reach = decay.square(), 2 * reach
    return smoothed
