"""Shell completion of overrides for Typer commands: config groups, their choices and keys; and ``--config-dir``.

Every command imports this module, but only completion needs the configuration, so functions import it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", "-cd", metavar="DIR", help="YAML files of your own, laid out like conf/."),
]


def complete_override(context: typer.Context, incomplete: str) -> list[str]:
    """Return the candidates for the word at the cursor.

    A key is completed together with its default, and a group with its choices; otherwise a shell would add a space
    after a single candidate ``KEY=``. Bash splits words at ``=``: after ``model=``, the incomplete word is the value,
    and the candidates are values.

    Args:
        context: context of the command; its parameter ``overrides`` has the words before the cursor.
        incomplete: the word at the cursor.
    """
    from audio_lightning.config.location import searching

    config_dir = context.params.get("config_dir")
    with searching([str(config_dir)] if config_dir and os.path.isdir(config_dir) else []):
        return _completed(context, incomplete)


def _completed(context: typer.Context, incomplete: str) -> list[str]:
    from audio_lightning.config.location import groups

    typed: list[str] = [str(word) for word in context.params.get("overrides") or []]
    if typed and typed[-1] in groups() and not incomplete:  # Typer drops an = at the cursor
        return list(_values(typed[-1], ""))
    if typed and typed[-1] == "=":
        return list(_values(typed[-2] if len(typed) > 1 else "", incomplete))
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={found}" for found in _values(key, value)]
    return list(_keys(_chosen(typed), incomplete))


def _values(key: str, value: str) -> Iterator[str]:
    """Choices of a group that begin with the value; after a comma (a sweep or a list), the remaining choices."""
    from audio_lightning.config.location import choices, groups

    before, comma, last = value.rpartition(",")
    start = value.startswith("[") and not comma
    for name in choices(key) if key in groups() else []:
        if name.startswith(last.removeprefix("[")) and name not in before.strip("[").split(","):
            yield f"{before}{comma}{'[' if start else ''}{name}"


def _chosen(words: Iterable[str]) -> Mapping[str, str]:
    from audio_lightning.config.location import groups

    pairs = (word.partition("=") for word in words)
    return {key: value for key, _, value in pairs if key in groups()}


def _keys(chosen: Mapping[str, str], start: str) -> Iterable[str]:
    """Groups and keys that begin with ``start``; if a choice of the group was typed, only the keys of that choice."""
    from audio_lightning.config.keys import defaults_of, keys_of_choices
    from audio_lightning.config.location import choices, groups

    if start in groups() or (len(found := [group for group in groups() if group.startswith(start)]) == 1 and start):
        group = start if start in groups() else found[0]
        if not any(key.startswith(start) and "." not in key for key in defaults_of()):
            return [f"{group}={name}" for name in choices(group)]
    keys = [f"{group}=" for group in groups() if group.startswith(start)]
    values: dict[str, Any] = {}
    for key, names in {**dict.fromkeys(defaults_of(), ()), **keys_of_choices()}.items():
        group = key.partition(".")[0]
        if key.startswith(start) and key.count(".") <= start.count(".") and key not in groups():
            choice = chosen.get(group) or next(iter(names), None)
            if not names or choice in names:
                values[key] = defaults_of(group, choice).get(key)
    keys += [f"{key}." if isinstance(value, dict) else f"{key}=" for key, value in values.items()]
    if len(keys) == 1 and keys[0].endswith("="):
        ((key, value),) = values.items()
        keys.append(f"{key}={_plain(value)}")
    return sorted(keys)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, list) or "${" in str(value):
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
