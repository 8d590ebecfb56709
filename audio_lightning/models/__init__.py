"""Architectures: from a front end's output to logits; one a file.

A class lives in the module that has its name in lower case (``ResNet`` in ``resnet``) and is imported from there when
it is first asked for, so that a model costs only the libraries it needs itself.
"""

from audio_lightning.lazy import by_module_name
from audio_lightning.models.base import AudioModel, IncompatibleInput

__all__ = ["AudioModel", "IncompatibleInput"]

__getattr__ = by_module_name(__name__)
