"""All keys of the configuration, including keys of choices that are not selected."""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config.location import choice_file, choices, config_dir, groups, last_change, searched

GLOBAL = ("experiment", "debug", "hydra")
"""Groups whose choices set keys of other groups or of Hydra."""


def all_keys(config: DictConfig) -> list[str]:
    """Keys of a configuration, including nodes and groups, without those of Hydra."""
    plain: Any = OmegaConf.to_container(config)
    return [*groups(), *_keys({name: node for name, node in plain.items() if name != "hydra"})]


def keys_of_choices() -> dict[str, list[str]]:
    """Map each key to the choices of its group that have it: ``{"model.depth": ["densenet", "resnet", "vgg"]}``.

    Keys of a sweep are included.
    """
    return _keys_of_choices(searched(), last_change(searched()))


def defaults_of(group: str | None = None, choice: str | None = None) -> dict[str, Any]:
    """Keys (including nodes) and values of a choice of a group, or of ``train.yaml`` outside of the groups."""
    import yaml

    if group is None or group not in groups():
        text: Any = yaml.safe_load((config_dir() / "train.yaml").read_text(encoding="utf-8"))
        return dict(_entries({key: value for key, value in text.items() if key != "defaults"}))
    return dict(_entries(_read(group, choice), f"{group}.")) if choice is not None else {}


def target_of(group: str, choice: str) -> str | None:
    """Path of the class that a choice of a group names."""
    return _read(group, choice).get("_target_")


@lru_cache(maxsize=8)
def _keys_of_choices(_folders: tuple[Path, ...], _changed: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group in [*(name for name in groups() if name not in GLOBAL), "sweep"]:
        for choice in choices(group) if group != "sweep" else ["default"]:
            for key in _keys(_read(group, choice), f"{group}."):
                found.setdefault(key, []).append(choice)
    _read.cache_clear()
    return found


@cache  # for the duration of one index, so that shared files are read once
def _read(group: str, name: str, readers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the keys of a file of a group, including those of the files in its defaults list.

    ``readers`` are the files whose defaults led to this one; they are not read again, in case defaults form a cycle.
    """
    import yaml

    file = choice_file(group, name)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=loader) if file.is_file() else {}
    except (yaml.YAMLError, OSError, UnicodeDecodeError):  # an invalid file of the user, which is not chosen
        text = {}
    own = dict(text) if isinstance(text, dict) else {}
    found: dict[str, Any] = {}
    for entry in own.pop("defaults", None) or []:
        if isinstance(entry, str) and entry not in ("_self_", *readers, name):
            found |= _read(group, entry, (*readers, name))
    return found | own


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    return (key for key, _ in _entries(node, prefix))


def _entries(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name != "_target_":
                yield f"{prefix}{name}", value
                yield from _entries(value, f"{prefix}{name}.")
