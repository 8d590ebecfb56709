"""Noise at a signal-to-noise ratio."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import from_decibels, rms


def add_at_snr(
    waveform: Float[Tensor, "batch time"], noise: Float[Tensor, "batch time"], snr_db: Float[Tensor, "batch"]
) -> Float[Tensor, "batch time"]:
    """Clips with noise at a signal-to-noise ratio, the ratio of their mean squares.

    Noise that is silent, or a clip that is, has no such ratio, and nothing is added.
    """
    # The floor keeps 0 / 0 away and lies far below half a step of 24-bit audio.
    scale = rms(waveform) / rms(noise).clamp(min=1e-12)
    return waveform + noise * (scale / from_decibels(snr_db))
