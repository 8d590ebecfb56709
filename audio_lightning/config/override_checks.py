"""Checks of single overrides against the configuration that they would change.

Hydra's own messages about a typo take several lines, and suggest a ``+``, with which the typo composes silently.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audio_lightning.config.automatic import AUTO, AUTOMATIC
from audio_lightning.config.hints import unknown_choice, unknown_key
from audio_lightning.config.location import choices, choices_in, config_dir, groups, searched
from audio_lightning.config.overrides import TEXT_KEY, as_list, is_group, is_hydras, line_of, parse_overrides
from audio_lightning.config.renamed import KEYS
from audio_lightning.config.slips import several_values
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import as_yaml

OPEN_NODES = ("augment", "callbacks", "logger", "metrics")
"""Nodes to which ``+`` can add an entry."""

SEVERAL = ("augment", "callbacks", "debug", "experiment", "logger", "metrics", "trainer")
"""Groups that allow several choices at once; in others, the second would override the first."""

BATCHES = re.compile(r"trainer\.(limit_(train|val|test|predict)_batches|overfit_batches|val_check_interval)")
"""Keys that are numbers of batches if they are integers, and shares of the batches if they are fractions."""

OPTIONAL = ("debug", "experiment")
"""Groups that need no choice."""


class UnknownKey(ConfigError):  # noqa: N818 - named after the mistake
    """An override of a key that does not exist, or not with the choices that were made.

    Attributes:
        line: the override.
    """

    def __init__(self, message: str, line: str) -> None:
        super().__init__(message)
        self.line = line


def check_choices(overrides: Iterable[str]) -> None:
    """Check that all choices exist, without composing, which takes longer.

    Raises:
        ConfigError: an unknown choice.
    """
    for override in parse_overrides(overrides):
        if is_group(override):
            check_choice(override)


def check_resolved(override: Override, base: DictConfig, config: DictConfig) -> None:
    """Check the type of a resolved interpolation, such as ``${oc.env:NAME}``; check_config reports unresolved ones.

    Raises:
        ConfigError: the value has another type than the default.
    """
    if "${" in line_of(override):
        with suppress(OmegaConfBaseException):
            key = override.key_or_group
            default = None if OmegaConf.is_missing(base, key) else OmegaConf.select(base, key)
            found = OmegaConf.select(config, key)
            if expected := _expected(key, default, found):
                # The message omits the value: it may be a secret, and messages are logged.
                kind = "text" if isinstance(found, str) else f"a {type(found).__name__}"
                raise ConfigError(
                    f"{line_of(override)}: resolves to {kind}, expected {expected}; the default is {as_yaml(default)}"
                )


def check_choice(override: Override) -> None:
    """Check that the choice of a group exists, and that the group allows the number of choices.

    Raises:
        ConfigError: an unknown choice (the message suggests the nearest one), no choice, or too many.
    """
    group = override.key_or_group
    if is_hydras(override):  # Hydra reports unknown choices of its own groups
        return
    if override.type is OverrideType.DEL:
        raise ConfigError(f"~{group}: a training needs a {group}; choose another one" + _or_none(group))
    if override.is_sweep_override():
        raise ConfigError(several_values(override))
    value = override.value()
    if value in (None, []) and group not in OPTIONAL:
        raise ConfigError(f"{override.input_line}: expected a choice; choices: {', '.join(choices(group))}")
    if isinstance(value, list) and len(value) > 1 and group not in SEVERAL:
        names = ",".join(map(str, value))
        raise ConfigError(
            f"{override.input_line}: a training has one {group}; to train each in turn, use -m {group}={names} or "
            f"python sweep.py {group}={names}"
        )
    for name in as_list(value):
        if own := [folder for folder in searched() if str(name) in choices_in(folder, group)]:
            if str(name) in choices_in(config_dir(), group):
                file = own[0] / group / f"{name}.yaml"
                raise ConfigError(
                    f"{file}: {group}={name} exists already, and would be used instead; give it another name"
                )
        elif name is not None and str(name) not in choices(group):
            raise ConfigError(unknown_choice(group, str(name)))


def _or_none(group: str) -> str:
    return f", or {group}=none" if "none" in choices(group) else ""


def check_key(override: Override, base: DictConfig) -> None:
    """Check that a configuration has a key, and the type of its new value.

    Raises:
        UnknownKey: an unknown key; the message suggests the nearest one.
        ConfigError: a value of another type than the default.
    """
    key = override.key_or_group
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, DictConfig) and part in node.keys():  # noqa: SIM118 - `in` is False for a missing value
            is_open = OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part)
            node = None if is_open else node[part]
            continue
        if parts[0] in OPEN_NODES and override.is_add() and depth >= 1:
            return
        raise UnknownKey(unknown_key(parts, depth, node, base), line_of(override))
    default = None if OmegaConf.is_missing(base, key) else OmegaConf.select(base, key)
    if override.is_sweep_override():
        raise ConfigError(several_values(override, wants_list=isinstance(default, ListConfig)))
    if override.type is OverrideType.DEL and parts[0] not in groups():
        raise ConfigError(f"~{key}: a training needs this key, whose default is {as_yaml(default)}; leave ~{key} out")
    if override.type is not OverrideType.DEL:
        _check_type(key, default, override.value())


def _check_type(key: str, default: Any, value: Any) -> None:
    """Check that a value has the type of the default; if the default is null, the target's signature decides later."""
    if isinstance(value, QuotedString):
        value = value.text
    if value == "" and TEXT_KEY.search(key):
        raise ConfigError(f"{key}=: the value is missing; type {key}=VALUE, or {key}=null")
    if isinstance(value, str) and "${" in value:
        return
    if expected := _expected(key, default, value):
        if new := KEYS.get(key):
            raise ConfigError(f"{key}={value}: renamed; type {new}={value}")
        if isinstance(default, ListConfig) and isinstance(value, (str, int, float)):
            expected = f"a list, as in {key}=[{value}]"
        raise ConfigError(f"{key}={as_yaml(value)}: expected {expected}, the default is {as_yaml(default)}")


def _expected(key: str, default: Any, value: Any) -> str | None:
    """Expected type of a value, from that of the default; None if the value has it."""
    expected: tuple[type, ...]
    if value is None or default is None or (value == AUTO and key in AUTOMATIC):
        return None
    if isinstance(default, bool):
        expected, name = (bool,), "true or false"
    elif BATCHES.fullmatch(key):
        expected, name = (int, float), "a whole number of batches, or a fraction of them such as 0.5"
    elif isinstance(default, int):
        expected, name = (int,), "a whole number"
    elif isinstance(default, float):
        expected, name = (int, float), "a number"
    elif isinstance(default, (ListConfig, list)):
        expected, name = (list, ListConfig), "a list such as [1,2]"
    elif isinstance(default, DictConfig):
        expected, name = (dict, DictConfig), f"one of its keys ({', '.join(f'{key}.{name!s}' for name in default)})"
    else:
        return None
    right = isinstance(value, expected) and not (isinstance(value, bool) and bool not in expected)
    return None if right else name
