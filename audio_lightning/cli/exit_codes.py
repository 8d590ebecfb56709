"""Exit codes of commands: success, a message for a user's mistake, or the traceback of a defect."""

import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from audio_lightning.cli.output import command
from audio_lightning.core.errors import DiskError, Interrupted, UserError
from audio_lightning.core.files import disk_trouble
from audio_lightning.core.messages import log_failure

P = ParamSpec("P")


def exits(action: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command of typer end with the exit code of its function, see :func:`exit_code_of`.

    Modules and folders of the user's own count that its ``overrides`` and its ``config_dir`` name, where it has any.
    """
    import typer  # late: train.py and sweep.py need no typer, which takes a tenth of a second

    @functools.wraps(action)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        def act() -> int | None:
            overrides: Any = kwargs.get("overrides") or []
            config_dir: Any = kwargs.get("config_dir")
            if not overrides and config_dir is None:
                return action(*args, **kwargs)
            from audio_lightning.config import user_extensions

            with user_extensions(overrides, config_dir):
                return action(*args, **kwargs)

        raise typer.Exit(exit_code_of(act))

    return run


def exit_code_of(action: Callable[[], int | None], *, folder: Path | None = None, then: str = "") -> int:
    """Run ``action`` and return an exit code.

    Args:
        action: returns its exit code; None for 0.
        folder: of the run that it trains, if it does.
        then: how to continue after an interruption, or when there is room again; by default to resume ``folder``.

    Returns:
        The code of ``action``; 2 with a message for a user's mistake; 1 for a full disk or memory, with a message, and
        for a defect, with its traceback; 130 or 143 when interrupted.
    """
    if folder is not None:
        then = f"go on with: {command('python', 'train.py', f'resume={folder}')}"
    hint = f"; {then}" if then else ""
    try:
        return action() or 0
    except UserError as error:
        print(f"error: {error}{hint if isinstance(error, DiskError) else ''}", file=sys.stderr)
        log_failure(error)
        return error.exit_code
    except (KeyboardInterrupt, Interrupted) as stop:
        print(f"interrupted{hint}", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    except BrokenPipeError:  # `audio-lightning predict ... | head`
        sys.stderr.close()
        return 141
    except Exception as error:
        if remedy := _remedy(error):
            print(f"error: {remedy}{hint}", file=sys.stderr)
        else:
            traceback.print_exc()
        log_failure(error)
        return 1


def _remedy(error: Exception) -> str | None:
    """What to do about a machine that is too small; None for a defect of the program."""
    # By name, because torch is not imported here.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "the memory is too small for this: try a smaller data.batch_size"
    return disk_trouble(error)
