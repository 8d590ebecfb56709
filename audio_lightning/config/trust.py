"""Modules outside of this package whose classes the user allows.

Only the command line or an argument of a call can trust a module, for as long as the command or the call lasts. A
file never can: neither a checkpoint nor a run folder nor a YAML, which may come from a stranger.
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
    """Context manager that allows classes defined in these modules or their submodules.

    No module is imported here, because an import may take seconds; it is imported when one of its classes is needed.

    Args:
        modules: name or names of modules, as in ``import``; None for none.

    Raises:
        ConfigError: there is no such module.
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
    """Trusted modules in the current context."""
    return _trusted.get()


def is_trusted(name: str) -> bool:
    """Whether a module or a class belongs to a trusted module."""
    return any(name == module or name.startswith(f"{module}.") for module in _trusted.get())


def source_files(module: str) -> list[Path]:
    """Sorted Python files of a package or module, found without importing it; none if it is unknown."""
    spec = _find(module.partition(".")[0])
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and Path(spec.origin).is_file() else []


def package_folder(name: str) -> Path | None:
    """Folder of a package, found without importing it; None if there is none."""
    top, *below = name.split(".")
    spec = _find(top)
    folders = [Path(folder, *below) for folder in (spec and spec.submodule_search_locations) or ()]
    return next((folder for folder in folders if folder.is_dir()), None)


def _require_module(name: Any) -> None:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        example = re.sub(r"\W", "_", Path(str(name)).stem)
        raise ConfigError(f"trust={name}: expected the name of a module, as in import, such as {example}")
    top = name.partition(".")[0]
    if _find(top) is not None:
        return
    here = os.path.isdir(top) or os.path.isfile(f"{top}.py")
    remedy = (
        "it is in the current folder, which is not on Python's path; put PYTHONPATH=. before the command"
        if here
        else "put PYTHONPATH=FOLDER before the command, with the folder that contains it, or install it"
    )
    looked = ", ".join(dict.fromkeys(_own_path())) or "none"
    raise ConfigError(
        f"trust={name}: there is no module {top} among the installed ones, nor in the folders on Python's path "
        f"({looked}); {remedy}"
    )


def _find(top: str) -> Any:
    """Specification of a top-level module, which is found without any import."""
    try:
        return importlib.util.find_spec(top)
    except (ValueError, ImportError):  # for example __main__
        return None


def _own_path() -> list[str]:
    """Folders on Python's path, without the folders of the standard library and of installed packages."""
    libraries = (*sysconfig.get_paths().values(), *site.getsitepackages(), str(Path(os.__file__).parent))
    entries = [entry or os.getcwd() for entry in sys.path]
    return [entry for entry in entries if os.path.isdir(entry) and not entry.startswith(libraries)]
