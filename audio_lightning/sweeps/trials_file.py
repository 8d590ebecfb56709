"""Reader of explicit lists of trials in YAML or text files (``sweep.trials_file``)."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf._utils import get_yaml_loader
from yaml import MappingNode, Node, SequenceNode, YAMLError

from audio_lightning.config.overrides import in_quotes, parse_overrides, quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import first_line, shortened
from audio_lightning.sweeps.grid import value_of


def read_trials_file(path: str | Path) -> list[list[str]]:
    """Read an explicit list of trials: one list of overrides per trial.

    Args:
        path: path of the file. A YAML file (``.yaml``, ``.yml``) has a list whose entries are lists of overrides or
            mappings from key to value. A text file has the overrides of one trial per line, quoted as in a shell, and
            comments after ``#``.

    Raises:
        ConfigError: the file cannot be read, contains no trials, or has an invalid entry; with file and line.
    """
    path = Path(os.path.expanduser(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep.trials_file={path}: cannot be read: {error}; check the path") from error
    entries = _yaml_entries if path.suffix.lower() in (".yaml", ".yml") else _text_entries
    trials = []
    for line, overrides in entries(path, text):
        try:
            trials.append([_single(override) for override in overrides])
        except ConfigError as error:
            raise ConfigError(f"{path}:{line}: {error}") from error
    if not trials:
        raise ConfigError(f"{path}: no trials; expected one line of overrides per trial, or a YAML list")
    return trials


def _single(line: str) -> str:
    """Quote the path in an override, and check that it has one value.

    Raises:
        ConfigError: the override is not in Hydra's grammar, or has several values.
    """
    quoted = quote_paths([line])[0]
    if parse_overrides([quoted])[0].is_sweep_override():
        raise ConfigError(f"{line}: several values; expected one value per key of a trial")
    return quoted


def _text_entries(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        lexer = shlex.shlex(line, posix=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = []
        try:
            for word in lexer:
                if word.startswith("#"):
                    break
                words.append(word)
        except ValueError as error:
            if not line.lstrip().startswith("#"):
                raise ConfigError(f"{path}:{number}: a quote is not closed; close it: {line.strip()}") from error
        if words:
            yield number, words


def _yaml_entries(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    loader = None
    try:
        loader = get_yaml_loader()(text)
        root: Node | None = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, SequenceNode):
            raise ConfigError(f"{path}:1: expected a list of trials")
        for entry in root.value:
            yield entry.start_mark.line + 1, _yaml_overrides(path, entry, loader.construct_object(entry, deep=True))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{place}: not YAML: {getattr(error, 'problem', None) or first_line(error)}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _yaml_overrides(path: Path, entry: Node, found: Any) -> list[str]:
    if isinstance(entry, MappingNode) and found:
        try:
            return [f"{key}={_written(value)}" for key, value in found.items()]
        except ConfigError as error:
            raise ConfigError(f"{path}:{entry.start_mark.line + 1}: {error}") from error
    if isinstance(found, list) and found and all(isinstance(override, str) for override in found):
        return found
    raise ConfigError(
        f"{path}:{entry.start_mark.line + 1}: a trial is a list such as [model=cnn, seed=0], "
        f"or keys and values such as {{model: cnn, seed: 0}}; found {shortened(found, 100)}"
    )


def _written(value: Any) -> str:
    """Format a value as on the command line."""
    if isinstance(value, str):
        is_bare = re.fullmatch(r"\w[\w.+-]*", value, re.ASCII) and value_of(f"key={value}") == value
        return value if is_bare else in_quotes(value)
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_as_key(key)}:{_written(entry)}' for key, entry in value.items())}}}"
    if value is None or isinstance(value, (bool, int, float)):
        return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
    raise ConfigError(f"{shortened(value)} is a {type(value).__name__}: expected text or a number")


def _as_key(key: Any) -> Any:
    """Check a key of a dictionary: Hydra's grammar allows no quoted keys, and reads numeric keys as numbers.

    Raises:
        ConfigError: Hydra would read a different key.
    """
    try:
        read = list(value_of(f"key={{{key}:0}}"))
    except ConfigError:
        read = []
    if [repr(found) for found in read] != [repr(key)]:
        becomes = f"as {read[0]!r}" if read else "not at all"
        plain = re.fullmatch(r"\w+", str(key), re.ASCII)
        remedy = f"write its entry on its own, as KEY.{key}: VALUE" if plain else "give it another name"
        raise ConfigError(f"the key {key!r} of a dictionary is read {becomes} in an override; {remedy}")
    return key
