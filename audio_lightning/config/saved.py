"""Configurations read from files: of runs, trials and checkpoints.

The file may come from a stranger. A saved configuration is resolved, so interpolations in it are refused: one could
read environment variables of the person who opens it, and send them to an address in the same file.
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
"""Maximum size of a saved configuration in bytes; usual ones have a few thousand."""

MOST_DEPTH = 32
"""Maximum depth of nested nodes."""

NODES = (*(name for name in groups() if name not in ("hydra", "experiment", "debug")), "ensemble", "tuner")
"""Nodes of a training's configuration."""

PLAIN = (str, bool, int, float, type(None))

REACHING = ("callbacks", "logger", "trainer")
"""Nodes whose targets write files or send data over the network."""

OUTSIDE = re.compile(r"^[\w.+-]*:/|^file:|://|^[/~\\]|(?:^|[/\\])\.\.(?:[/\\]|$)", re.IGNORECASE)
"""Pattern of network addresses, and of paths outside of the run folder."""

PLACE_KEY = re.compile(r"(?:dir|path|root|file|folder)$")
"""Arguments that are paths; in a saved configuration, they are relative to its folder, not to the current one."""

ADDRESS_KEY = re.compile(r"(?:uri|url|host|address|endpoint|key|token)$")
"""Arguments that are addresses or accounts, whatever their values are."""

FREE_TEXT = ("notes", "tags")
"""Arguments that are only displayed."""


def read_saved(path: Path, *, complete: bool = False) -> dict[str, Any]:
    """Read the saved configuration of a run.

    Args:
        path: ``config.yaml``.
        complete: require all nodes of a training.

    Returns:
        Plain values, with current names (:mod:`audio_lightning.config.renamed`).

    Raises:
        FileError: it cannot be read, is not a configuration of a run, or contains an interpolation.
    """
    text = read_text(path, most=MOST_YAML)
    try:
        _check_events(yaml.parse(text, Loader=yaml.CSafeLoader))
        # OmegaConf writes standard YAML; this parser takes a fifth of the time of OmegaConf's own.
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise FileError(f"{path} is not the configuration of a run: {first_line(error)}; restore a copy") from error
    if not isinstance(values, dict):
        raise FileError(f"{path} is not the configuration of a run: expected keys and values")
    check_resolved(values, where=str(path))
    upgrade(values)
    for name in NODES if complete else [name for name in NODES if name in values] or NODES:
        if not isinstance(values.get(name), dict):
            found = f"{name} is {shortened(values[name])}" if name in values else f"it lacks {name}"
            raise FileError(f"{path} is not the configuration of a run: {found}; restore a copy")
    return values


def as_config(values: Mapping[str, Any], *, where: str) -> DictConfig:
    """Build a configuration, to which no keys can be added, from plain values.

    Args:
        values: keys and values.
        where: name of the file, for messages.

    Raises:
        FileError: values that a configuration cannot hold.
    """
    try:
        config = OmegaConf.create(dict(values))
    except (OmegaConfBaseException, ValueError) as error:
        raise FileError(f"{where} is not the configuration of a run: {first_line(error)}; restore a copy") from error
    OmegaConf.set_struct(config, True)
    return config


def as_plain(config: DictConfig) -> dict[str, Any]:
    """Convert a configuration to plain Python, with interpolations resolved."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return dict(plain)


def check_resolved(values: Any, *, where: str) -> None:
    """Refuse values of a saved configuration that are not plain, or not resolved.

    Raises:
        FileError: an interpolation, or a value of another type; the message has its key.
    """
    for key, value in _entries(values):
        if not isinstance(value, PLAIN):
            raise FileError(f"{where}: {shortened(key)} is a {type(value).__name__}, expected text or a number")
        if "${" in key or (isinstance(value, str) and "${" in value):
            raise FileError(
                f"{where}: {shortened(key)}={shortened(value)} is refused: an interpolation in a saved configuration "
                "could read private values, such as environment variables; type the value on the command line"
            )


def outside(config: DictConfig, node: str, folder: Path) -> list[tuple[str, str]]:
    """Keys and values in a node of :data:`REACHING` that are addresses, or paths outside of the run folder."""
    inside = folder.resolve()

    def leads_out(key: str, value: str) -> bool:
        if PLACE_KEY.search(key) and "://" not in value and not value.startswith("~"):
            return not (inside / value).resolve().is_relative_to(inside)  # resolves symbolic links
        return bool(ADDRESS_KEY.search(key) or OUTSIDE.search(value))

    entries = _entries(OmegaConf.to_container(config[node]) if config.get(node) else {}, f"{node}.")
    return [
        (key, value)
        for key, value in entries
        if isinstance(value, str) and not {"_target_", *FREE_TEXT} & {*key.split(".")} and leads_out(key, value)
    ]


def check_reach(config: DictConfig, nodes: Iterable[str], folder: Path, *, typed: Iterable[str] = ()) -> None:
    """Refuse addresses, and paths outside of the run folder, that come from a file.

    Other paths are made absolute, in place, relative to the folder.

    Args:
        config: configuration from the file.
        nodes: nodes of :data:`REACHING` that were not replaced on the command line.
        folder: folder of the run.
        typed: keys whose values come from the command line.

    Raises:
        ConfigError: such a value; the message has the override that confirms it.
    """
    for node in nodes:
        for key, value in outside(config, node, folder):
            if key in typed:
                continue
            choice = f"{node}={key.split('.')[1]} " if node != "trainer" else ""
            raise ConfigError(
                f"{key}={shortened(value, 200)} of a saved configuration leads out of its folder, and is refused; "
                f"to use it, type it on the command line: {choice}{key}=..."
            )
        for key, value in list(_entries(OmegaConf.to_container(config[node]) if config.get(node) else {}, f"{node}.")):
            if isinstance(value, str) and PLACE_KEY.search(key) and key not in typed:
                OmegaConf.update(config, key, str(folder.absolute() / value))


def _check_events(events: Iterable[Any]) -> None:
    """Refuse aliases and deep nesting before parsing: aliases can expand to more than fits into memory."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH or isinstance(event, yaml.AliasEvent):
            raise ValueError("it has aliases, or is nested too deeply")


def _entries(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf and every node, with its dotted key; the value of a node is None."""
    names: Iterable[Any] = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in names:
        key = f"{prefix}{name}"
        if isinstance(value, (dict, list, tuple)):
            yield key, None
            yield from _entries(value, f"{key}.")
        else:
            yield key, value
