"""Augmentations of waveforms, of spectrograms and of pairs of clips with their targets; one a file."""

from audio_lightning.augment.augmentation import Augmentation
from audio_lightning.augment.base import PairAugmentation, SpectrogramAugmentation, WaveformAugmentation

__all__ = ["Augmentation", "PairAugmentation", "SpectrogramAugmentation", "WaveformAugmentation"]
