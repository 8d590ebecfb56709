"""Output of several commands: written files, a suggested next command, and the data that is used."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from audio_lightning.core.files import is_stream
from audio_lightning.core.messages import below_here
from audio_lightning.core.utf8 import as_utf8


def print_next(*words: str | Path) -> None:
    """Print a suggested next command, quoted for the shell."""
    print("next: " + command(*words), flush=True)


def print_next_on_terminal(*words: str | Path) -> None:
    """Print a suggested next command if stdout is a terminal; a pipe or a file receives only the data."""
    if sys.stdout.isatty():
        print()
        print_next(*words)


def print_written(*files: Path) -> None:
    """Print the paths of written files; on stderr if one is a device or a pipe, because it may be stdout itself."""
    stream = sys.stderr if any(map(is_stream, files)) else sys.stdout
    print(f"written: {', '.join(as_utf8(below_here(file)) for file in files)}", file=stream, flush=True)


def print_demo_data(lines: Sequence[str]) -> None:
    """Print a note if nothing on the command line chooses the data, so that the generated demo sounds are used.

    Args:
        lines: overrides of a training, with quoted paths.

    Raises:
        ConfigError: an override that is not in Hydra's grammar, or an unknown choice.
    """
    from audio_lightning.config import compose, parse_overrides
    from audio_lightning.config.overrides import is_group, line_of

    chosen = [override for override in parse_overrides(lines) if is_group(override)]
    if any(override.key_or_group == "data" for override in chosen):
        return
    if compose(map(line_of, chosen), with_hydra=True).hydra.runtime.choices.data == "demo":
        print("no data= is given: the generated demo sounds are used; data=folder data.root=DIR names your recordings")


def trust_options(modules: Iterable[str] | None) -> list[str]:
    """Options of a command that opens a checkpoint with classes of the user's own modules."""
    return [word for module in modules or () for word in ("--trust", module)]


def command(*words: str | Path) -> str:
    """Quote a command for the shell; paths below the current folder become relative to it."""
    return shlex.join(as_utf8(below_here(word) if isinstance(word, Path) else word) for word in words)
