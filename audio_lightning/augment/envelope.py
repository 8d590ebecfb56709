"""The spectral envelope: the resonances of an instrument or a throat, whatever note they are heard by."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

LOWEST_HERTZ = 40.0
BANDS_PER_OCTAVE = 6
# Standard deviation of what is averaged, in octaves: bridges the gap between the lowest partials, which is an octave.
WIDTH = 0.3
# What lies this far below the loudest part of the envelope is the recording's noise and has no shape to keep.
RANGE_DB = 60.0
MOST_DB = 30.0


def displaced_envelope(
    power: Float[Tensor, "batch bins"], speed: Float[Tensor, "batch 1"], sample_rate: int
) -> Float[Tensor, "batch bins"]:
    """Factors of amplitude that give each frequency the envelope that is found ``speed`` times as high.

    Played at that speed afterwards, a clip has another pitch and its envelope where it was, which is how a player
    changes notes (Röbel & Rodet 2005, Efficient spectral envelope estimation; here in bands on a logarithmic axis of
    frequency, since the pitch is not known). Factors are of 30 dB at most; a silent clip has factors of 1.

    Args:
        power: squared magnitudes at the frequencies of ``torch.fft.rfft``.
        speed: of each clip.
        sample_rate: of the clips, in hertz.
    """
    weights, place = _bands(power.shape[1], sample_rate, power.device)
    envelope = 10 * (power @ weights.T + 1e-20).log10()
    envelope = torch.maximum(envelope, envelope.amax(dim=1, keepdim=True) - RANGE_DB)
    bands = torch.arange(len(weights), device=power.device)
    change = _between(envelope, bands + speed.log2() * BANDS_PER_OCTAVE) - envelope
    return torch.pow(10, _between(change.clamp(-MOST_DB, MOST_DB), place.expand_as(power)) / 20)


def _between(
    values: Float[Tensor, "batch bands"], place: Float[Tensor, "batch places"]
) -> Float[Tensor, "batch places"]:
    """Values between bands, along straight lines; beyond the ends, those at the ends."""
    place = place.clamp(0, values.shape[1] - 1)
    below = place.long().clamp(max=values.shape[1] - 2)
    return torch.lerp(values.gather(1, below), values.gather(1, below + 1), place - below)


@cache
def _bands(
    bins: int, sample_rate: int, device: torch.device
) -> tuple[Float[Tensor, "bands bins"], Float[Tensor, "bins"]]:
    """What each band averages, and where each bin lies between the bands."""
    nyquist = sample_rate / 2
    hertz = torch.linspace(0, nyquist, bins, device=device).clamp(min=LOWEST_HERTZ)
    place = BANDS_PER_OCTAVE * (hertz / LOWEST_HERTZ).log2()
    centers = torch.arange(max(2, int(place[-1]) + 2), device=device)[:, None]
    weights = torch.exp(-0.5 * ((place - centers) / (WIDTH * BANDS_PER_OCTAVE)).square())
    return weights / weights.sum(dim=1, keepdim=True), place
