"""Augmentations of waveforms, spectrograms and pairs of clips with their targets; one class per module."""

from audio_lightning.augment.augmentation import Augmentation
from audio_lightning.augment.base import PairAugmentation, SpectrogramAugmentation, WaveformAugmentation

__all__ = ["Augmentation", "PairAugmentation", "SpectrogramAugmentation", "WaveformAugmentation"]
