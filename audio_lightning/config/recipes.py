"""Recipes combined with other choices: keys of a recipe that the other choice does not have.

A recipe (``experiment=``) may set keys that only its own choice of a group has: ``data.words`` exists with
``data=speech_commands``, but not with ``data=folder``. Hydra merges such keys nevertheless; here they are removed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.config.keys import keys_of_choices, target_of
from audio_lightning.config.location import choices_in, config_dir
from audio_lightning.config.override_checks import OPEN_NODES
from audio_lightning.config.overrides import as_list, line_of

RECIPE = "experiment"
"""The group of recipes."""


@dataclass(frozen=True)
class LeftOut:
    """Keys of a recipe that a typed choice does not have.

    Attributes:
        recipe: ``experiment=best_speech``, as typed.
        choice: ``data=folder``, as typed.
        keys: such as ``data.words``.
    """

    recipe: str
    choice: str
    keys: list[str]

    def __str__(self) -> str:
        return f"{self.recipe} sets {', '.join(self.keys)}, which {self.choice} does not have; left out"


def leave_out(config: DictConfig, chosen: Iterable[Override]) -> list[LeftOut]:
    """Remove keys of a recipe that the typed choice of their group does not have, in place.

    Args:
        config: configuration composed from choices.
        chosen: the typed choices; without a recipe among them, nothing is removed.

    Returns:
        The removed keys, by choice.
    """
    typed = {override.key_or_group: override for override in chosen if override.type is not OverrideType.DEL}
    recipe = typed.pop(RECIPE, None)
    if recipe is None or not any(as_list(recipe.value())):
        return []
    found = []
    for group, override in typed.items():
        if not isinstance(node := config.get(group), DictConfig):
            continue
        names = [str(name) for name in as_list(override.value())]
        if keys := list(_open_lacking(node, group, names) if group in OPEN_NODES else _lacking(node, group, names)):
            found.append(LeftOut(line_of(recipe), line_of(override), keys))
        for key in keys:
            _remove(config, key)
    return found


def _lacking(node: DictConfig, group: str, names: list[str]) -> Iterator[str]:
    """Keys of a node that are neither in the file of its choice nor accepted by its class."""
    known = keys_of_choices()
    for name in map(str, node):
        key = f"{group}.{name}"
        if (
            not name.startswith("_")
            and not {*names} & {*known.get(key, ())}
            and not _may_take(node, group, names, name)
        ):
            yield key


def _may_take(node: DictConfig, group: str, names: list[str], argument: str) -> bool:
    """Whether the class of a node may accept an argument that its file does not name.

    Files of this package name every argument; the class is not imported for them.
    """
    from audio_lightning.config.targets import is_allowed, resolve, takes

    target: Any = OmegaConf.select(node, "_target_")
    own = all(name in choices_in(config_dir(), group) for name in names)
    if target is None or (own and target in [target_of(group, name) for name in names]):
        return False
    # A class that is not trusted is refused later, with a message.
    return not is_allowed(target, where=group) or takes(resolve(target, object, where=group), argument)


def _open_lacking(node: DictConfig, path: str, names: list[str]) -> Iterator[str]:
    """Entries with arguments from a recipe, but without a class from a choice: ``callbacks.early_stopping``."""
    for name, entry in node.items():
        key = f"{path}.{name!s}"
        if not isinstance(entry, DictConfig) or not entry or "_target_" in entry:
            continue
        if any(isinstance(child, DictConfig) for child in entry.values()):  # a node of entries: augment.waveform
            yield from _open_lacking(entry, key, names)
        elif not {*names} & {*keys_of_choices().get(key, ())}:
            yield key


def _remove(config: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with open_dict(node):
        del node[name]
