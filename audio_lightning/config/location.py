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
def groups(name: str = "train") -> list[str]:
    """The axes of a configuration: the folders that its defaults choose from."""
    import yaml

    text = (config_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    return sorted(group for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict) for group in entry)
