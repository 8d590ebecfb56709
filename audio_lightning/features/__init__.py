"""Front ends, from a waveform ``[batch, time]`` to ``[batch, channels, bins, frames]``; one a file."""

from audio_lightning.features.base import FrontEnd

__all__ = ["FrontEnd"]
