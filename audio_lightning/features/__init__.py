"""Front ends: a batch of waveforms in, what the network sees out; one a file.

A class lives in the module that has its name in lower case (``LogMel`` in ``logmel``) and is imported from there when
it is first asked for, so that a front end costs only the libraries it needs itself.
"""

from importlib import import_module
from typing import Any

from audio_lightning.features.base import FrontEnd

__all__ = ["FrontEnd"]


def __getattr__(name: str) -> Any:
    module = f"{__name__}.{name.lower()}"
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:  # a library that this front end needs
            raise
        raise AttributeError(f"module {__name__!r} has no front end {name!r}") from None
