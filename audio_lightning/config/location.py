"""Folders of configuration files, and the choices in them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from audio_lightning.config.trust import package_folder
from audio_lightning.core.errors import ConfigError

_searched: ContextVar[tuple[Path, ...]] = ContextVar("searched", default=())


@cache
def config_dir() -> Path:
    """Folder with ``train.yaml`` and the groups: inside the package in a wheel, next to it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    inside, beside = package / "conf", package.parent / "conf"
    return inside if (inside / "train.yaml").is_file() else beside


@contextmanager
def searching(places: Iterable[str]) -> Iterator[None]:
    """Context manager that adds folders with choices, laid out like ``conf/``, after the folder of this package.

    Args:
        places: folders, as paths or in Hydra's notation: ``file://FOLDER`` and ``pkg://package.folder``.

    Raises:
        ConfigError: a folder that does not exist.
    """
    found = [_folder(place) for place in places]
    token = _searched.set(tuple(dict.fromkeys([*_searched.get(), *found])))
    try:
        yield
    finally:
        _searched.reset(token)


def searched() -> tuple[Path, ...]:
    """The user's own configuration folders in the current context, absolute."""
    return _searched.get()


def choices(group: str) -> list[str]:
    """Sorted choices of a group (``"model"``); files that begin with ``_`` are shared parts, not choices."""
    return sorted({name for folder in (config_dir(), *searched()) for name in choices_in(folder, group)})


def choices_in(folder: Path, group: str) -> list[str]:
    """Choices of a group in one folder."""
    return [path.stem for path in (folder / group).glob("*.yaml") if not path.stem.startswith("_")]


def choice_file(group: str, name: str) -> Path:
    """File of a choice, or of a shared part of choices; its path in ``conf/`` if there is none."""
    files = [folder / group / f"{name}.yaml" for folder in (config_dir(), *searched())]
    return next((file for file in files if file.is_file()), files[0])


def last_change(folders: Iterable[Path]) -> int:
    """Time of the last change of a YAML file in these folders, in nanoseconds; 0 if there is none."""
    files = (file for folder in folders for file in folder.glob("*/*.yaml"))
    return max((file.stat().st_mtime_ns for file in files), default=0)


@cache
def groups(name: str = "train") -> list[str]:
    """Groups of a configuration: the folders that its defaults list chooses from."""
    import yaml

    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    return sorted(group for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict) for group in entry)


def _folder(place: str) -> Path:
    scheme, separator, name = place.rpartition("://")
    if scheme == "pkg":
        folder = package_folder(name.replace("/", "."))
        if folder is None:
            raise ConfigError(f"{place}: no such package, or no such folder in it; check the name")
        return folder.absolute()
    if separator and scheme != "file":
        raise ConfigError(f"{place}: expected file://FOLDER or pkg://PACKAGE")
    folder = Path(os.path.expanduser(name))  # Path.expanduser() raises for an unknown user
    if not os.path.isdir(folder):
        raise ConfigError(f"{place}: no such folder; expected one with YAML files in folders such as model/")
    return folder.absolute()
