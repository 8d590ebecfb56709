"""Messages about command-line arguments that are not of the form ``KEY=VALUE``."""

import re
from collections.abc import Collection, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from audio_lightning.config.hints import meant_by
from audio_lightning.config.location import choices, groups
from audio_lightning.core.errors import ConfigError

DECIMAL_COMMA = re.compile(r"[^=]+=-?\d+,0\d+(?:[eE][+-]?\d+)?")
"""Pattern of a decimal comma such as ``0,001``, which Hydra's grammar reads as two values."""


def unreadable(lines: Sequence[str], place: int, reason: str) -> str:
    """Message about the override ``lines[place]``, which is not in Hydra's grammar, with the parser's ``reason``."""
    line, before = lines[place], "".join(lines[max(0, place - 1) : place])
    after = "".join(lines[place + 1 : place + 2])
    if re.fullmatch(r"[\w.]+", line) and after.startswith("="):
        value = after[1:] or "".join(lines[place + 2 : place + 3])
        return f"{line} {after} {value}".replace("  ", " ").strip() + f": remove the spaces: {line}={value}"
    if line.endswith(",") and after:
        return f"{line} {after}: remove the space after the comma: {line}{after}"
    if before.endswith("=") and "=" not in line:
        return f"{before} {line}: remove the space: {before}{line}"
    message = f"cannot read the override {line!r}"
    if "=" in line:
        key, _, value = line.partition("=")
        return f"{message}; put the value in quotes, as in \"{key}='{value}'\""
    having = [f"{group}={line}" for group in groups() if line in choices(group)]
    if having and line not in groups():
        return f"{message}: {reason}; did you mean {having[0]}?"
    return f"{message}: {reason}; write KEY=VALUE, such as model=resnet or trainer.max_epochs=3"


def check_decimal(line: str) -> None:
    """Refuse a number with a decimal comma.

    Raises:
        ConfigError: such a number; the message has it with a decimal point.
    """
    if DECIMAL_COMMA.fullmatch(line):
        raise ConfigError(f"{line}: the decimal separator is a point; type {line.replace(',', '.')}")


def several_values(override: Override, *, wants_list: bool = False) -> str:
    """Message about several values for a key that has one."""
    line, key = str(override.input_line), override.key_or_group
    value = line.partition("=")[2]
    if wants_list:
        return f"{line}: a list needs brackets; type {key}=[{value}]"
    point = f", or for one number: {line.replace(',', '.')}" if re.fullmatch(r"\d+,\d+", value) else ""
    return f"{line}: one training has one {key}; for several, use python sweep.py {line}{point}"


def unknown_option(
    arguments: Sequence[str], option: str, base: DictConfig, script: str, own: Collection[str] = ()
) -> str:
    """Message about an option such as ``--epochs 5``; keys are typed without dashes.

    ``base`` is a configuration with all keys, ``own`` are further keys of the command, and ``script`` is the command
    whose ``--help`` lists them.
    """
    name, equals, value = option.lstrip("-").partition("=")
    following = [*arguments[arguments.index(option) + 1 :], ""][0] if option in arguments else ""
    if not equals:
        value = "true" if not following or following.startswith("-") or "=" in following else following
    meant = name if name in own else meant_by(name, base) if len(name) > 1 else None
    if not meant:
        return f"{option}: no such option; `{script} --help` lists all options and keys"
    key, *needs = meant.removesuffix(f" (of {script})").split(" (", 1)
    typed = key if "=" in key and not key.startswith("data=folder ") else f"{key}={value}"
    return f"{option}: no such option; keys are typed as KEY=VALUE: {' ('.join([typed, *needs])}"
