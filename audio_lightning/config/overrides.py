"""Command-line overrides: quoting for Hydra's grammar, and parsing.

Hydra's grammar refuses many common paths; :func:`quote_paths` quotes them.
"""

import os
import re
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import HydraException

from audio_lightning.config.location import groups
from audio_lightning.config.slips import check_decimal, unreadable
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line

PATH_KEY = re.compile(r"(?:^|[._])(?:root|dir|path|file|pretrained|resume|backbone|teacher)$")
"""Keys whose values are paths."""

NETWORK_KEY = re.compile(r"\.backbone$")
"""Keys whose values may be paths or names of published networks."""

TEXT_KEY = re.compile(rf"{PATH_KEY.pattern}|(?:^|[._])(?:table|column|separator|pattern)$")
"""Keys whose values are taken literally: paths, and others that may contain characters of Hydra's grammar."""

LIST_KEY = re.compile(r"(?:^|\.)(?:ignore|label_columns)$")
"""Keys whose values are lists of patterns; a single pattern needs no brackets."""

SHORT = {"trust": "trusted_modules"}
"""Short forms of keys, on the command line and in Python."""

_ENTRY = re.compile(r"\s*(\w+)\s*:\s*('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,{}]+?)\s*(?:,|$)")
"""One entry of a mapping: a name, and a value that is quoted or contains no comma."""


def quote_paths(arguments: Iterable[str], *, multirun: bool = False) -> list[str]:
    """Quote paths, column names, separators and patterns on the command line for Hydra's grammar.

    Hydra's grammar refuses ``~``, ``=``, ``;``, parentheses, commas and letters such as ``ö`` in an unquoted value.
    Values of the keys :data:`TEXT_KEY` are quoted, unless they are ``null`` or already quoted; ``~`` in a path is
    expanded. Short forms of keys (:data:`SHORT`) are expanded as well.

    Args:
        arguments: overrides as typed.
        multirun: split values at commas, which separate the values of a sweep, except in an existing path.
    """
    return [_quote_path(_written_out(argument), multirun) for argument in arguments]


def holds_path(key: str, value: object) -> bool:
    """Whether a value is a path, existing or not."""
    named = NETWORK_KEY.search(key) and not ("/" in str(value) or str(value).endswith(".onnx"))
    return bool(PATH_KEY.search(key)) and not named


def command_line(overrides: Iterable[str] | None, config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Arguments of a command line: ``--config-dir``, if a folder is given, and the overrides."""
    option = [] if config_dir is None else ["--config-dir", os.fspath(config_dir)]
    return [*option, *(overrides or [])]


def is_group(override: Override, name: str = "train") -> bool:
    """Whether an override chooses a file (``model=resnet``) rather than setting a key (``seed=1``)."""
    return override.key_or_group in groups(name) or is_hydras(override)


def is_hydras(override: Override) -> bool:
    """Whether an override chooses a part of Hydra, such as ``hydra/launcher=joblib``."""
    return override.key_or_group.startswith("hydra/")


def _written_out(argument: str) -> str:
    key, equals, value = argument.partition("=")
    name = key.lstrip("+~")
    return f"{key.removesuffix(name)}{SHORT[name]}{equals}{value}" if name in SHORT else argument


def _quote_path(argument: str, multirun: bool) -> str:
    key, equals, value = argument.partition("=")
    bare_key = key.lstrip("+~")
    if LIST_KEY.search(bare_key) and _is_single(value):
        return f"{key}=[{quoted(value, is_path=False)}]"
    if not equals or not TEXT_KEY.search(bare_key) or value in ("", "null", "true", "false", "???"):
        return argument
    if bare_key.startswith("hydra."):
        value = _with_choices(value)
    is_path = bool(PATH_KEY.search(bare_key))
    if bare_key.endswith("table") and (mapping := _quoted_mapping(value)):
        return f"{key}={mapping}"
    several = multirun and "," in value.strip(",") and value[0] not in "'\""
    if several and not (is_path and os.path.exists(os.path.expanduser(value))):
        return f"{key}=" + ",".join(quoted(part, is_path=is_path) for part in value.split(","))
    return f"{key}={quoted(value, is_path=is_path)}"


def _is_single(value: str) -> bool:
    """Whether a value is a single text, not a list, an interpolation or comma-separated values."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value not in ("", "null") and value[0] != "[" and "${" not in value and (quoted or "," not in value)


def _with_choices(value: str) -> str:
    """Let ``${model}`` in a folder name refer to the name of the choice, instead of to all keys of the node.

    ``${hydra:runtime.choices.model}``, which Hydra resolves only during a run, becomes an interpolation of the node.
    """
    named = re.sub(rf"\$\{{({'|'.join(groups())})\}}", r"${hydra.runtime.choices.\1}", value)
    return named.replace("${hydra:", "${hydra.")


def _quoted_mapping(value: str) -> str | None:
    """Quote every value of ``{train:a.csv,test:b.csv}``; None for other texts."""
    if not (value.startswith("{") and value.endswith("}")):
        return None
    inside, position, entries = value[1:-1], 0, []
    while position < len(inside):
        if (entry := _ENTRY.match(inside, position)) is None:
            return None
        entries.append(f"{entry[1]}:{quoted(entry[2], is_path=True)}")
        position = entry.end()
    return "{" + ",".join(entries) + "}" if entries else None


def quoted(value: str, *, is_path: bool) -> str:
    """Quote a value for Hydra's grammar; ``~`` in a path is expanded."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1].replace("\\" + value[0], value[0])
    if is_path:
        value = os.path.expanduser(value)
    return in_quotes(value)


def in_quotes(text: str) -> str:
    """Quote an arbitrary text for Hydra's grammar."""
    # Inside quotes, a backslash is special only before a quote, so only there it is doubled.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def parse_overrides(overrides: Iterable[str]) -> list[Override]:
    """Parse overrides in Hydra's grammar.

    Raises:
        ConfigError: an override that is not in the grammar.
    """
    parser = OverridesParser.create()
    lines, parsed = list(overrides), []
    for place, line in enumerate(lines):
        try:
            parsed.append(parser.parse_override(line))
        except (HydraException, ValueError, RecursionError) as error:  # ValueError: a number with thousands of digits
            raise ConfigError(unreadable(lines, place, first_line(error))) from error
        check_decimal(line)
    return parsed


def line_of(override: Override) -> str:
    """Text of the override as typed."""
    assert override.input_line is not None
    return override.input_line


def single_value(override: Override) -> Any:
    """Value of a key that must be the same for all trainings of a command line, as plain Python.

    Raises:
        ConfigError: several values.
    """
    if override.is_sweep_override():
        raise ConfigError(
            f"{override.input_line}: expected one value or a list; type {override.key_or_group}=[...,...]"
        )
    value: Any = None if override.type is OverrideType.DEL else override.value()
    plain = [entry.text if isinstance(entry, QuotedString) else entry for entry in as_list(value)]
    return plain if isinstance(value, list) else plain[0]


def as_list(value: Any) -> list[Any]:
    """Wrap a single value in a list; return a list unchanged."""
    return value if isinstance(value, list) else [value]
