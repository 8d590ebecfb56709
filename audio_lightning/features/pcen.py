"""Per-channel energy normalization."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.features.base import FrontEnd
from audio_lightning.features.checks import require_positive
from audio_lightning.features.filters import FilteredSpectrogram, MelFilters, MelNorm, MelScale
from audio_lightning.features.normalize import NormalizeMode

FLOOR = 1e-6


class PCEN(FrontEnd):
    """Mel magnitudes under an automatic gain control and a root, [B, T] to [B, 1, n_mels, frames].

    Each magnitude E is divided by a power of its own smoothed past M, which takes away stationary noise, the distance
    of the source and the colour of the channel: (E / (1e-6 + M)^gain + bias)^power - bias^power, with
    M[t] = (1 - s) M[t - 1] + s E[t] and M[0] = E[0] (Wang et al. 2017, arXiv 1607.05666; magnitudes in place of powers
    and s from the time constant as in Lostanlen et al. 2019 and librosa).

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
        time_constant_seconds: memory of the gain control.
        gain: how much of the smoothed level is taken away, 1 for all of it.
        bias: offset before the root; smaller values show quieter sounds.
        power: exponent of the root.
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
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        n_fft: int | None = None,
        f_min: float = 20,
        f_max: float | None = None,
        mel_scale: MelScale = "htk",
        norm: MelNorm = None,
        time_constant_seconds: float = 0.4,
        gain: float = 0.98,
        bias: float = 2,
        power: float = 0.5,
        learnable: bool = False,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        self.mel = FilteredSpectrogram(
            MelFilters(sample_rate, n_mels, f_min, f_max, mel_scale, norm),
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            n_fft=n_fft,
            magnitude=True,
        )
        self.learnable = learnable
        self.control = GainControl(
            n_mels,
            sample_rate / self.mel.power.hop_length,
            time_constant_seconds=time_constant_seconds,
            gain=gain,
            bias=bias,
            power=power,
            learnable=learnable,
        )

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """The normalized magnitudes as a picture of one channel."""
        return self.control(self.mel(waveform)).unsqueeze(1)


class GainControl(nn.Module):
    """The automatic gain control of :class:`PCEN` and the root behind it, on the magnitudes in any bands.

    Args:
        bins: number of bands.
        frame_rate: frames a second.
        time_constant_seconds, gain, bias, power, learnable: see :class:`PCEN`.

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
        *,
        time_constant_seconds: float,
        gain: float,
        bias: float,
        power: float,
        learnable: bool = False,
    ) -> None:
        super().__init__()
        require_positive("time_constant_seconds", time_constant_seconds)
        require_positive("gain", gain)
        require_positive("bias", bias)
        require_positive("power", power)
        self.learnable = learnable
        # What is learned are logarithms, as in the paper: no step can make a parameter negative.
        self._register("smoothing_logit", smoothing_logit(time_constant_seconds * frame_rate), bins)
        self._register("log_gain", math.log(gain), bins)
        self._register("log_bias", math.log(bias), bins)
        self._register("log_power", math.log(power), bins)

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
