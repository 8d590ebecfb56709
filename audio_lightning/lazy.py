"""Packages whose classes are imported when they are first asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def by_module_name(package: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package of which every module holds the class with its name.

    ``audio_lightning.models.ResNet`` is the class ``ResNet`` of ``audio_lightning/models/resnet.py``. So a new one is
    found without being listed anywhere, and one costs only the libraries that it needs itself.

    Args:
        package: name of the package.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        module = f"{package}.{name.lower()}"
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != module:  # a library that this class needs
                raise
            raise AttributeError(f"module {package!r} has no {name}") from None

    return __getattr__
