"""Per-channel energy normalization."""

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
    """An automatic gain control, and the root behind it.

    Attributes:
        gain: how much of the smoothed level is taken away, 1 for all of it.
        bias: offset before the root; smaller values show quieter sounds.
        power: exponent of the root.
    """

    gain: float = 0.98
    bias: float = 2
    power: float = 0.5


class PCEN(FrontEnd):
    """Mel magnitudes under an automatic gain control and a root, [B, T] to [B, 1, n_mels, frames].

    Each magnitude E is divided by a power of its own smoothed past M, which takes away stationary noise, the distance
    of the source and the colour of the channel: (E / (1e-6 + M)^gain + bias)^power - bias^power, with
    M[t] = (1 - s) M[t - 1] + s E[t] and M[0] = E[0] (Wang et al. 2017, arXiv 1607.05666; magnitudes in place of powers
    and s from the time constant as in Lostanlen et al. 2019 and librosa).

    Args:
        n_mels: number of mel bands.
        mel: frames and filters.
        time_constant_seconds: memory of the gain control.
        control: of the gain.
        learnable: whether smoothing, gain, bias and power are trained, in every band for itself; the values given are
            where they start.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: an option that cannot work.
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
        """The normalized magnitudes as a picture of one channel."""
        return self.control(self.mel(waveform)).unsqueeze(1)


class GainControl(nn.Module):
    """The automatic gain control of :class:`PCEN` and the root behind it, on the magnitudes in any bands.

    Args:
        bins: number of bands.
        frame_rate: frames a second.
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
        # What is learned are logarithms, as in the paper: no step can make a parameter negative.
        self._register("smoothing_logit", smoothing_logit(time_constant_seconds * frame_rate), bins)
        for name, value in asdict(settings).items():
            require_positive(name, value)
            self._register(f"log_{name}", math.log(value), bins)

    def forward(self, magnitude: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
        """The normalized magnitudes."""
        bias, power = self.log_bias.exp(), self.log_power.exp()
        level = smooth(magnitude, self.smoothing_logit.sigmoid())
        controlled = magnitude * (-self.log_gain.exp() * (FLOOR + level).log()).exp()
        # The formula of PCEN's docstring without the difference of two almost equal numbers where it is quiet.
        return bias**power * torch.expm1(power * torch.log1p(controlled / bias))

    def _register(self, name: str, start: float, bins: int) -> None:
        value = torch.full((bins, 1), start, dtype=torch.float32)
        if self.learnable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value, persistent=False)


def smoothing_logit(frames: float) -> float:
    """Logit of the coefficient s of a first-order filter whose response decays within so many frames.

    That is s = 2 / (1 + sqrt(1 + 4 frames^2)), what librosa's formula comes to.
    """
    return math.log(2 / math.expm1(math.log1p(4 * frames**2) / 2))


def smooth(
    values: Float[Tensor, "batch bins frames"], coefficient: Float[Tensor, "bins 1"]
) -> Float[Tensor, "batch bins frames"]:
    """First-order smoothing over the frames that starts from the first one.

    Every pass adds what lies twice as far back as in the last one (Hillis & Steele 1986): a handful of operations on
    whole tensors, where a recursion would take one for each frame.
    """
    frames = values.shape[-1]
    smoothed = torch.cat([values[..., :1], coefficient * values[..., 1:]], dim=-1)
    decay, reach = 1 - coefficient, 1
    while reach < frames:
        earlier = nn.functional.pad(smoothed[..., :-reach], (reach, 0))
        smoothed = smoothed + decay * earlier
        decay, reach = decay.square(), 2 * reach
    return smoothed
