"""Where the configuration files are and what can be chosen from them."""

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
    """Folder with ``train.yaml`` and the groups: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside, beside = package / "conf", package.parent / "conf"
    return inside if (inside / "train.yaml").is_file() else beside


@contextmanager
def searching(places: Iterable[str]) -> Iterator[None]:
    """Look for choices in further folders, laid out as ``conf/``, after those of this package.

    Args:
        places: folders, or as Hydra names them: ``file://FOLDER`` and ``pkg://package.folder``.

    Raises:
        ConfigError: there is no such folder.
    """
    found = [_folder(place) for place in places]
    token = _searched.set(tuple(dict.fromkeys([*_searched.get(), *found])))
    try:
        yield
    finally:
        _searched.reset(token)


def searched() -> tuple[Path, ...]:
    """The user's own folders that count here and now, absolute."""
    return _searched.get()


def choices(group: str) -> list[str]:
    """What can be chosen for ``group`` (``"model"``), sorted; files that begin with ``_`` are only building blocks."""
    return sorted({name for folder in (config_dir(), *searched()) for name in choices_in(folder, group)})


def choices_in(folder: Path, group: str) -> list[str]:
    """What a folder offers for ``group``."""
    return [path.stem for path in (folder / group).glob("*.yaml") if not path.stem.startswith("_")]


def choice_file(group: str, name: str) -> Path:
    """The file of a choice, or of a building block of choices; the path in ``conf/`` where there is none."""
    files = [folder / group / f"{name}.yaml" for folder in (config_dir(), *searched())]
    return next((file for file in files if file.is_file()), files[0])


def last_change(folders: Iterable[Path]) -> int:
    """When a YAML file in these folders was last written, in nanoseconds; 0 where there is none."""
    files = (file for folder in folders for file in folder.glob("*/*.yaml"))
    return max((file.stat().st_mtime_ns for file in files), default=0)


@cache
def groups(name: str = "train") -> list[str]:
    """The axes of a configuration: the folders that its defaults choose from."""
    import yaml

    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    return sorted(group for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict) for group in entry)


def _folder(place: str) -> Path:
    scheme, separator, name = place.rpartition("://")
    if scheme == "pkg":
        folder = package_folder(name.replace("/", "."))
        if folder is None:
            raise ConfigError(f"{place}: no such package, or it holds no such folder")
        return folder.absolute()
    if separator and scheme != "file":
        raise ConfigError(f"{place}: expected file://FOLDER or pkg://PACKAGE")
    folder = Path(os.path.expanduser(name))  # Path's own raises where there is no such user
    if not os.path.isdir(folder):
        raise ConfigError(f"{place}: no such folder; expected one with YAML files in folders such as model/")
    return folder.absolute()
