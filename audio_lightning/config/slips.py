"""Messages about command lines that are not in the form ``KEY=VALUE``."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from audio_lightning.config.hints import meant_by
from audio_lightning.config.location import choices, groups
from audio_lightning.core.errors import ConfigError

DECIMAL_COMMA = re.compile(r"[^=]+=-?\d+,0\d+(?:[eE][+-]?\d+)?")
"""A value such as ``0,001``, which is a list of two values in Hydra's grammar."""


def unreadable(lines: Sequence[str], place: int, reason: str) -> str:
    """The message about the override ``lines[place]``, which is not in Hydra's grammar, with the parser's reason."""
    line, before = lines[place], "".join(lines[max(0, place - 1) : place])
    after = "".join(lines[place + 1 : place + 2])
    if re.fullmatch(r"[\w.]+", line) and after.startswith("="):
        value = after[1:] or "".join(lines[place + 2 : place + 3])
        return f"{line} {after} {value}".replace("  ", " ").strip() + f": leave out the spaces: {line}={value}"
    if line.endswith(",") and after:
        return f"{line} {after}: leave out the space after the comma: {line}{after}"
    if before.endswith("=") and "=" not in line:
        return f"{before} {line}: leave out the space: {before}{line}"
    message = f"cannot read the override {line!r}"
    if "=" in line:
        key, _, value = line.partition("=")
        return f"{message}: put the value in quotes, as in \"{key}='{value}'\""
    having = [f"{group}={line}" for group in groups() if line in choices(group)]
    if having and line not in groups():
        return f"{message}: {reason}; did you mean {having[0]}?"
    return f"{message}: {reason}; an override is KEY=VALUE, such as model=resnet or trainer.max_epochs=3"


def check_decimal(line: str) -> None:
    """Refuse a number with a decimal comma.

    Raises:
        ConfigError: with the number as it is meant.
    """
    if DECIMAL_COMMA.fullmatch(line):
        raise ConfigError(f"{line}: the decimal separator is a point: {line.replace(',', '.')}")


def several_values(override: Override, *, wants_list: bool = False) -> str:
    """The message about several values where there can be one."""
    line, key = str(override.input_line), override.key_or_group
    value = line.partition("=")[2]
    if wants_list:
        return f"{line}: a list is typed in brackets: {key}=[{value}]"
    point = f", or {line.replace(',', '.')}, if it is one number" if re.fullmatch(r"\d+,\d+", value) else ""
    return f"{line}: one training has one {key}; several are a sweep: python sweep.py {line}{point}"


def unknown_option(arguments: Sequence[str], option: str, base: DictConfig, script: str) -> str:
    """The message about an option such as ``--epochs 5``: keys are typed without dashes.

    ``base`` is a configuration with all keys, and ``script`` the command whose ``--help`` lists them.
    """
    name, equals, value = option.lstrip("-").partition("=")
    following = [*arguments[arguments.index(option) + 1 :], ""][0] if option in arguments else ""
    if not equals:
        value = "true" if not following or following.startswith("-") or "=" in following else following
    meant = meant_by(name, base) if len(name) > 1 else None
    if not meant:
        return f"{option}: no such option; `{script} --help` shows what can be given"
    key, *needs = meant.removesuffix(f" (of {script})").split(" (", 1)
    typed = key if "=" in key and not key.startswith("data=folder ") else f"{key}={value}"
    return f"{option}: no such option; keys have no dashes and an equals sign: {' ('.join([typed, *needs])}"
