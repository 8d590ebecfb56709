"""Augmentations: what makes every epoch's clips a little different; one a file.

A class lives in the module that has its name in lower case (``TimeShift`` in ``timeshift``) and is imported from there
when it is first asked for.
"""

from audio_lightning.augment.augmentation import Augmentation
from audio_lightning.augment.base import PairAugmentation, SpectrogramAugmentation, WaveformAugmentation
from audio_lightning.lazy import by_module_name

__all__ = ["Augmentation", "PairAugmentation", "SpectrogramAugmentation", "WaveformAugmentation"]

__getattr__ = by_module_name(__name__)
