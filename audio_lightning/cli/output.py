"""The command to type next, and the files that were written."""

import shlex
import sys
from pathlib import Path

from audio_lightning.core.messages import below_here


def print_next(*words: str | Path) -> None:
    """Print the command that is usually typed next, quoted for the shell."""
    print("next: " + command(*words), flush=True)


def print_next_on_terminal(*words: str | Path) -> None:
    """The same after output that other programs read: in a pipe or a file, nothing is printed."""
    if sys.stdout.isatty():
        print()
        print_next(*words)


def print_written(*files: Path) -> None:
    """Print the paths of the files that a command has written, where its output is not data for other programs."""
    print(f"written: {', '.join(str(below_here(file)) for file in files)}", flush=True)


def command(*words: str | Path) -> str:
    """A command quoted for the shell, with paths relative to the current folder where they are below it."""
    return shlex.join(str(below_here(word) if isinstance(word, Path) else word) for word in words)
