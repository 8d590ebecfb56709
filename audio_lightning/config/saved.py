"""Configurations that come from a file: of a run, of a trial, of a checkpoint.

Somebody else may have made the file. What a run saves is resolved, so that nothing in it is resolved again: an
interpolation could read environment variables of whoever opens it, and send them to an address that stands beside it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audio_lightning.config.location import groups
from audio_lightning.config.renamed import upgrade
from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import first_line, read_text, shortened

MOST_YAML = 2**20
"""Bytes of a saved configuration, which has some thousand."""

MOST_DEPTH = 32
"""Nodes within one another."""

NODES = (*(name for name in groups() if name not in ("hydra", "experiment", "debug")), "ensemble", "tuner")
"""Keys of a training's configuration under which others stand."""

PLAIN = (str, bool, int, float, type(None))

REACHING = ("callbacks", "logger", "trainer")
"""Nodes whose targets write files, or send what happens elsewhere."""

OUTSIDE = re.compile(r"^[\w.+-]*:/|^file:|://|^[/~\\]|(?:^|[/\\])\.\.(?:[/\\]|$)", re.IGNORECASE)
"""Addresses, and places that are not within the run folder."""

PLACE_KEY = re.compile(r"(?:dir|path|root|file|folder)$")
"""Arguments that are paths: in a file, relative ones are within its folder, and not where the command is typed."""

ADDRESS_KEY = re.compile(r"(?:uri|url|host|address|endpoint|key|token)$")
"""Arguments that say where something is sent, or whose account gets it, whatever they look like."""

FREE_TEXT = ("notes", "tags")
"""Arguments that are only shown."""


def read_saved(path: Path, *, complete: bool = False) -> dict[str, Any]:
    """Read the configuration that a run saved.

    Args:
        path: ``config.yaml``.
        complete: all nodes of a training must be there.

    Returns:
        Plain values, with the names of today (:mod:`audio_lightning.config.renamed`).

    Raises:
        FileError: it cannot be read, is no such configuration, or holds an interpolation.
    """
    text = read_text(path, most=MOST_YAML)
    try:
        _check_events(yaml.parse(text, Loader=yaml.CSafeLoader))
        # What OmegaConf wrote any YAML parser reads alike, and this one in a fifth of the time.
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise FileError(f"{path} is not the configuration of a run: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise FileError(f"{path} is not the configuration of a run: expected keys and values")
    check_resolved(values, where=str(path))
    upgrade(values)
    for name in NODES if complete else [name for name in NODES if name in values] or NODES:
        if not isinstance(values.get(name), dict):
            found = f"{name} is {shortened(values[name])}" if name in values else f"it lacks {name}"
            raise FileError(f"{path} is not the configuration of a run: {found}")
    return values


def as_config(values: Mapping[str, Any], *, where: str) -> DictConfig:
    """A configuration of plain values, closed to further keys.

    Raises:
        FileError: values that a configuration cannot have.
    """
    try:
        config = OmegaConf.create(dict(values))
    except (OmegaConfBaseException, ValueError) as error:
        raise FileError(f"{where} is not the configuration of a run: {first_line(error)}") from error
    OmegaConf.set_struct(config, True)
    return config


def as_plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain Python, with its interpolations resolved."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return dict(plain)


def check_resolved(values: Any, *, where: str) -> None:
    """Refuse what is not plain or not resolved in a configuration that comes from a file.

    Raises:
        FileError: an interpolation, or a value of another type, with its key.
    """
    for key, value in _entries(values):
        if not isinstance(value, PLAIN):
            raise FileError(f"{where}: {shortened(key)} is a {type(value).__name__}: expected text or a number")
        if "${" in key or (isinstance(value, str) and "${" in value):
            raise FileError(
                f"{where}: {shortened(key)}={shortened(value)} is refused: a saved configuration is resolved, and an "
                "interpolation could read what is yours alone, such as environment variables; type it again"
            )


def outside(config: DictConfig, node: str, folder: Path) -> list[tuple[str, str]]:
    """Keys and values of a node of :data:`REACHING` that are addresses, or places outside of the run folder."""
    inside = folder.resolve()

    def leads_out(key: str, value: str) -> bool:
        if PLACE_KEY.search(key) and "://" not in value and not value.startswith("~"):
            return not (inside / value).resolve().is_relative_to(inside)  # a link may lead anywhere
        return bool(ADDRESS_KEY.search(key) or OUTSIDE.search(value))

    entries = _entries(OmegaConf.to_container(config[node]) if config.get(node) else {}, f"{node}.")
    return [
        (key, value)
        for key, value in entries
        if isinstance(value, str) and not {"_target_", *FREE_TEXT} & {*key.split(".")} and leads_out(key, value)
    ]


def check_reach(config: DictConfig, nodes: Iterable[str], folder: Path, *, typed: Iterable[str] = ()) -> None:
    """Refuse to use what a file says of addresses, and of places outside of its folder.

    Other places are made absolute, in place: relative to the folder.

    Args:
        config: that comes from the file.
        nodes: of :data:`REACHING`, those that were not typed anew.
        folder: of the run.
        typed: keys whose values do not come from the file.

    Raises:
        ConfigError: the first of them, and how to type it.
    """
    for node in nodes:
        for key, value in outside(config, node, folder):
            if key in typed:
                continue
            choice = f"{node}={key.split('.')[1]} " if node != "trainer" else ""
            raise ConfigError(
                f"{key}={shortened(value, 200)} of a saved configuration leads out of its folder, and is not used "
                f"unless it is typed again: {choice}{key}=..."
            )
        for key, value in list(_entries(OmegaConf.to_container(config[node]) if config.get(node) else {}, f"{node}.")):
            if isinstance(value, str) and PLACE_KEY.search(key) and key not in typed:
                OmegaConf.update(config, key, str(folder.absolute() / value))


def _check_events(events: Iterable[Any]) -> None:
    """Refuse what no saved configuration has, before it is built: aliases can stand for more than fits into memory."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH or isinstance(event, yaml.AliasEvent):
            raise ValueError("it has aliases, or is nested too deeply")


def _entries(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf, and every empty node, with its dotted key."""
    names: Iterable[Any] = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in names:
        key = f"{prefix}{name}"
        if isinstance(value, (dict, list, tuple)):
            yield key, None
            yield from _entries(value, f"{key}.")
        else:
            yield key, value
