"""Cepstral coefficients and their deltas, from a spectrogram in decibels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice, require_positive, require_table
from audio_lightning.core.errors import ConfigError

DELTA_REACH = 2  # frames on either side: five frames in all, the default of HTK and torchaudio


class Cepstrum(nn.Module):
    """Cepstral coefficients (orthonormal DCT-II over the bands), with deltas as channels.

    [B, bands, N] to [B, 1 + deltas, coefficients, N].

    Args:
        coefficients: number of coefficients, including the zeroth (the level).
        bands: number of bands.
        deltas: 0 for the coefficients alone, 1 to add delta, 2 to add delta and delta-delta coefficients.
        option: name of the option that sets ``coefficients``, for error messages.
        bands_option: name of the option that sets ``bands``, for error messages.

    Raises:
        ConfigError: more coefficients than bands, no coefficients, or an unknown order of deltas.
    """

    dct: Tensor

    def __init__(self, coefficients: int, bands: int, *, deltas: int, option: str, bands_option: str) -> None:
        super().__init__()
        require_positive(option, coefficients)
        require_choice("deltas", deltas, [0, 1, 2])
        if coefficients > bands:
            raise ConfigError(f"{option} is {coefficients}, more than the {bands} bands; use at most {bands_option}")
        require_table(f"{option} and {bands_option}", coefficients, bands)
        self.deltas = deltas
        self.register_buffer("dct", orthonormal_dct(coefficients, bands).float(), persistent=False)

    def forward(self, decibels: Float[Tensor, "batch bands frames"]) -> Float[Tensor, "batch orders n frames"]:
        """Compute coefficients, deltas and delta-deltas, each as a channel."""
        orders = [self.dct @ decibels]
        for _ in range(self.deltas):
            orders.append(slopes(orders[-1]))
        return torch.stack(orders, dim=1)


def orthonormal_dct(coefficients: int, bands: int) -> Float[Tensor, "coefficients bands"]:
    """Matrix of the orthonormal DCT-II: the transpose of ``torchaudio.functional.create_dct``, to the last bit."""
    order = torch.arange(float(coefficients))[:, None]
    dct = torch.cos(math.pi / bands * (torch.arange(float(bands)) + 0.5) * order)
    dct[0] *= 1 / math.sqrt(2)
    return dct * math.sqrt(2 / bands)


def slopes(features: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
    """Deltas of each bin: linear regression over five frames; the first and the last frame are repeated.

    The formula of the HTK Book (section 5.9). It is computed by sums only, so that the other clips of a batch do not
    change a clip's deltas, not even in the last bit.
    """
    frames = features.shape[-1]
    padded = nn.functional.pad(features, (DELTA_REACH, DELTA_REACH), mode="replicate")
    result = torch.zeros_like(features)
    for step in range(1, DELTA_REACH + 1):
        later, earlier = (padded.narrow(-1, DELTA_REACH + shift, frames) for shift in (step, -step))
        result += step * (later - earlier)
    return result / (2 * sum(step**2 for step in range(1, DELTA_REACH + 1)))
