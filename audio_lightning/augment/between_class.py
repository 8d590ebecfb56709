"""Between-class learning."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.base import PairAugmentation, from_decibels, in_pieces, uniform

QUIETEST_DB = -80.0  # minimum level of a sound, as in the authors' implementation


class BetweenClass(PairAugmentation):
    """Between-class learning (Tokozume, Ushiku & Harada 2018, arXiv 1711.10282): waveforms mixed by loudness.

    Each clip draws a ratio r uniformly from 0 to 1. The amplitudes are chosen such that the first sound has the share r
    of the perceived loudness, which a plain mean of a loud and a quiet sound would not give. The sum is scaled to the
    energy of two uncorrelated sounds. Targets are mixed by r. Unlike in the paper, both sounds may have the same class.

    Args:
        sample_rate, p: see :class:`PairAugmentation`.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.between_class import BetweenClass
        >>> _ = torch.manual_seed(0)
        >>> mix = BetweenClass(sample_rate=16000)
        >>> waveform, target = mix(torch.randn(2, 8000), torch.eye(2))
        >>> waveform.shape, target.sum(dim=1)
        (torch.Size([2, 8000]), tensor([1., 1.]))
    """

    def __init__(self, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(sample_rate=sample_rate, p=p, domain="waveform")
        # About 0.1 seconds: 2048 at 16 kHz and 4096 at 44.1 kHz, as in the authors' implementation.
        self.n_fft = 2 ** max(1, round(math.log2(sample_rate / 10)))

    def mix(
        self, x: Float[Tensor, "drawn time"], other: Float[Tensor, "drawn time"]
    ) -> tuple[Float[Tensor, "drawn time"], Float[Tensor, "drawn"]]:
        """Mix two sounds; return the mixture and the perceived share of the first."""
        ratio = uniform((0, 1), x)
        louder = from_decibels(in_pieces(self.loudness, x) - in_pieces(self.loudness, other)).squeeze(1)
        # The paper's 1 / (1 + louder * (1 - r) / r), without its division by zero.
        weight = (ratio / (ratio + louder * (1 - ratio)))[:, None]
        return torch.lerp(other, x, weight) / torch.hypot(weight, 1 - weight), ratio

    def loudness(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch"]:
        """A-weighted level of the loudest frame of each clip in decibels, at least -80."""
        short = max(0, self.n_fft - waveform.shape[1])
        window = torch.hann_window(self.n_fft, device=waveform.device)
        spectrum = torch.stft(
            functional.pad(waveform, (0, short)),
            self.n_fft,
            self.n_fft // 2,
            window=window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).mT @ a_weighting(
            self.n_fft, self.sample_rate
        ).to(waveform.device)
        return 10 * power.amax(dim=1).clamp(min=10 ** (QUIETEST_DB / 10)).log10()


def a_weighting(n_fft: int, sample_rate: int) -> Float[Tensor, "bins"]:
    """A-weighting as a power factor for each frequency bin, 1 at 1 kHz (IEC 61672-1) and at least -80 dB."""
    squared = torch.fft.rfftfreq(n_fft, 1 / sample_rate, dtype=torch.float64).square()
    low, lower_middle, upper_middle, high = (edge**2 for edge in (20.598997, 107.65265, 737.86223, 12194.217))
    poles = (squared + low) * (squared + high) * ((squared + lower_middle) * (squared + upper_middle)).sqrt()
    gain = 10 ** (2.0 / 20) * high * squared.square() / poles
    return gain.square().clamp(min=10 ** (QUIETEST_DB / 10)).float()
