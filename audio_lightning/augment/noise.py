"""Noise at a signal-to-noise ratio."""

from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import from_decibels, rms


def add_at_snr(
    waveform: Float[Tensor, "batch time"], noise: Float[Tensor, "batch time"], snr_db: Float[Tensor, "batch"]
) -> Float[Tensor, "batch time"]:
    """Add noise to clips at given signal-to-noise ratios, as ratios of mean squares.

    Nothing is added to a silent clip, or from silent noise, for which no such ratio exists.
    """
    # The floor prevents 0 / 0, and is far below half a step of 24-bit audio.
    scale = rms(waveform) / rms(noise).clamp(min=1e-12)
    return waveform + noise * (scale / from_decibels(snr_db))
