"""Front ends from waveforms ``[batch, time]`` to features ``[batch, channels, bins, frames]``, one per file."""

from audio_lightning.features.base import FrontEnd

__all__ = ["FrontEnd"]
