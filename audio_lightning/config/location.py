"""Where the configuration files are and what can be chosen from them."""

from functools import cache
from pathlib import Path


@cache
def config_dir() -> Path:
    """Folder with ``train.yaml`` and the groups: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside, beside = package / "conf", package.parent / "conf"
    return inside if (inside / "train.yaml").is_file() else beside


def choices(group: str) -> list[str]:
    """What can be chosen for ``group`` (``"model"``), sorted; files that begin with ``_`` are only building blocks."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml") if not path.stem.startswith("_"))


@cache
def groups() -> list[str]:
    """The axes of the configuration: the folders that hold choices."""
    return sorted(path.name for path in config_dir().iterdir() if path.is_dir() and choices(path.name))
