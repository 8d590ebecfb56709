"""From decibels to cepstral coefficients and their course over time."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice, require_positive, require_table
from audio_lightning.core.errors import ConfigError

DELTA_REACH = 2  # frames to either side: HTK's and torchaudio's usual five


class Cepstrum(nn.Module):
    """Orthonormal DCT-II over the bands, with deltas as further channels: [B, bands, N] to [B, 1 + deltas, n, N].

    Args:
        coefficients: number of coefficients, from the zeroth (the level) on.
        bands: number of bands.
        deltas: 0 for the coefficients alone, 1 with their slopes, 2 also with the slopes of the slopes.
        option: name of the option that holds ``coefficients``.
        bands_option: name of the option that holds ``bands``.

    Raises:
        ConfigError: more coefficients than bands, none at all, or an unknown order of deltas.
    """

    dct: Tensor

    def __init__(self, coefficients: int, bands: int, *, deltas: int, option: str, bands_option: str) -> None:
        super().__init__()
        require_positive(option, coefficients)
        require_choice("deltas", deltas, [0, 1, 2])
        if coefficients > bands:
            raise ConfigError(f"{option} is {coefficients}, more than the {bands} bands: use at most {bands_option}")
        require_table(f"{option} and {bands_option}", coefficients, bands)
        self.deltas = deltas
        self.register_buffer("dct", orthonormal_dct(coefficients, bands).float(), persistent=False)

    def forward(self, decibels: Float[Tensor, "batch bands frames"]) -> Float[Tensor, "batch orders n frames"]:
        """Coefficients, slopes and slopes of slopes, one order a channel."""
        orders = [self.dct @ decibels]
        for _ in range(self.deltas):
            orders.append(slopes(orders[-1]))
        return torch.stack(orders, dim=1)


def orthonormal_dct(coefficients: int, bands: int) -> Float[Tensor, "coefficients bands"]:
    """Matrix of the orthonormal DCT-II, equal to that of ``torchaudio.functional.create_dct`` to the last bit."""
    order = torch.arange(float(coefficients))[:, None]
    dct = torch.cos(math.pi / bands * (torch.arange(float(bands)) + 0.5) * order)
    dct[0] *= 1 / math.sqrt(2)
    return dct * math.sqrt(2 / bands)


def slopes(features: Float[Tensor, "batch bins frames"]) -> Float[Tensor, "batch bins frames"]:
    """Slope of each bin over time by linear regression over five frames; the first and the last frame are repeated.

    The formula of the HTK Book (section 5.9). Nothing but sums, so that no clip depends on others in the last bit.
    """
    frames = features.shape[-1]
    padded = nn.functional.pad(features, (DELTA_REACH, DELTA_REACH), mode="replicate")
    result = torch.zeros_like(features)
    for step in range(1, DELTA_REACH + 1):
        later, earlier = (padded.narrow(-1, DELTA_REACH + shift, frames) for shift in (step, -step))
        result += step * (later - earlier)
    return result / (2 * sum(step**2 for step in range(1, DELTA_REACH + 1)))
