"""``--config-dir DIR``: a folder with YAML files of the user's own, under the name of Hydra's option."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from audio_lightning.core.errors import ConfigError


def take_config_dir(arguments: Sequence[str], script: str) -> tuple[str | None, list[str]]:
    """Take ``--config-dir DIR``, ``--config-dir=DIR`` or ``-cd DIR`` out of a command line.

    Args:
        arguments: as typed.
        script: the command whose ``--help`` an error points to.

    Returns:
        The folder, None without the option; and the other arguments.

    Raises:
        ConfigError: the option without a folder.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{script} --help` shows what can be given")

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument("--config-dir", "-cd")
    typed, others = parser.parse_known_args(arguments)
    return typed.config_dir, others
