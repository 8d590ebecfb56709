"""Modules from outside this package whose classes may be named, as far as the user says so.

What counts is what a person types, for as long as the command or the call lasts. No file ever adds to it: neither a
checkpoint nor a run folder, which somebody else may have made, nor a YAML.
"""

import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from audio_lightning.core.errors import ConfigError

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(modules: str | Iterable[str] | None) -> Iterator[None]:
    """Let a configuration name classes that these modules, or modules within them, define.

    Nothing is imported here, which may take seconds; a module is when a class of it is asked for.

    Args:
        modules: names of modules, as ``import`` takes them; or one of them; None for none.

    Raises:
        ConfigError: no such module is to be found.
    """
    several = isinstance(modules, Iterable) and not isinstance(modules, str)
    names: list[Any] = [] if modules is None else list(modules) if several else [modules]
    for name in names:
        _require_module(name)
    token = _trusted.set(tuple(dict.fromkeys([*_trusted.get(), *names])))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted_modules() -> tuple[str, ...]:
    """The modules that count here and now."""
    return _trusted.get()


def is_trusted(name: str) -> bool:
    """Whether a module or a class is in one of the modules that count here and now."""
    return any(name == module or name.startswith(f"{module}.") for module in _trusted.get())


def source_files(module: str) -> list[Path]:
    """The Python files of the package or module of this name, sorted, found without importing it; none if unknown."""
    spec = _find(module.partition(".")[0])
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def package_folder(name: str) -> Path | None:
    """The folder of a package, found without importing it; None if there is none."""
    top, *below = name.split(".")
    spec = _find(top)
    folders = [Path(folder, *below) for folder in (spec and spec.submodule_search_locations) or ()]
    return next((folder for folder in folders if folder.is_dir()), None)


def _require_module(name: Any) -> None:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        example = re.sub(r"\W", "_", Path(str(name)).stem)
        raise ConfigError(f"trust={name}: expected the name of a module as import takes it, such as {example}")
    top = name.partition(".")[0]
    if _find(top) is not None:
        return
    here = os.path.isdir(top) or os.path.isfile(f"{top}.py")
    remedy = (
        "it lies in the current folder, where Python does not look for it: put PYTHONPATH=. before the command"
        if here
        else "put PYTHONPATH=FOLDER before the command, with the folder that it lies in, or install it"
    )
    looked = ", ".join(dict.fromkeys(_own_path())) or "none"
    raise ConfigError(
        f"trust={name}: there is no module {top} among the installed ones and in the folders on Python's path "
        f"({looked}); {remedy}"
    )


def _find(top: str) -> Any:
    """The specification of a module of the highest level, for which nothing has to be imported."""
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # of __main__, for one
        return None


def _own_path() -> list[str]:
    """Folders on Python's path but for those of its libraries."""
    libraries = (*sysconfig.get_paths().values(), *site.getsitepackages(), str(Path(os.__file__).parent))
    entries = [entry or os.getcwd() for entry in sys.path]
    return [entry for entry in entries if os.path.isdir(entry) and not entry.startswith(libraries)]
