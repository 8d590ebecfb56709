"""Architectures: from a front end's output to logits; one a file.

A class lives in the module that has its name in lower case (``ResNet`` in ``resnet``) and is imported from there when
it is first asked for, so that a model costs only the libraries it needs itself.
"""

from importlib import import_module
from typing import Any

from audio_lightning.models.base import AudioModel, IncompatibleInput

__all__ = ["AudioModel", "IncompatibleInput"]


def __getattr__(name: str) -> Any:
    module = f"{__name__}.{name.lower()}"
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:  # a library that this model needs
            raise
        raise AttributeError(f"module {__name__!r} has no model {name!r}") from None
