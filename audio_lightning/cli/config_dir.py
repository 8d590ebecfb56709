"""``--config-dir DIR``: a folder with YAML files of the user's own, under the name of Hydra's option."""

import argparse
from collections.abc import Sequence

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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        typed, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; `{script} --help` shows what can be given") from error
    return typed.config_dir, others
