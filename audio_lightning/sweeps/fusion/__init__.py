"""Fused trials: several trials that one process trains together, see :mod:`audio_lightning.training.fusion`."""
