"""Model architectures: modules from a front end's output to logits ``[batch, classes]``, one per file."""

from audio_lightning.models.base import AudioModel, IncompatibleInput

__all__ = ["AudioModel", "IncompatibleInput"]
