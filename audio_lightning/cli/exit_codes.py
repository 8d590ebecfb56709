"""Exit codes of commands: success, a user's mistake (one message), or a defect of the program (traceback)."""

import functools
import io
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
    """Decorate a function as a Typer command that exits with the function's exit code, see :func:`exit_code_of`.

    If the function has the arguments ``overrides`` and ``config_dir``, the user's own modules and YAML files that they
    name can be used while it runs.
    """
    import typer  # late: train.py and sweep.py do not need it, and its import takes a tenth of a second

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
    """Run ``action``, print its errors, and return an exit code.

    Args:
        action: returns its exit code; None for 0.
        folder: run folder, if ``action`` is a training.
        then: how to continue after an interruption or a full disk; by default, how to resume ``folder``.

    Returns:
        The code of ``action``; 2 for a user's mistake, with a message; 1 for a full disk or out of memory, with a
        message, or for a defect, with a traceback; 130 or 143 after a signal; 141 if a pipe is closed by its reader.
    """
    if folder is not None:
        from audio_lightning.config.trust import trusted_modules  # late, as in `exits`

        names = ",".join(trusted_modules())
        trust = [f"trust=[{names}]" if "," in names else f"trust={names}"] if names else []
        then = f"continue with: {command('python', 'train.py', f'resume={folder}', *trust)}"
    hint = f"; {then}" if then else ""
    _escape_undecodable_names()
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


def _escape_undecodable_names() -> None:
    """Let stdout escape names that it cannot encode, as stderr does, instead of raising an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _remedy(error: Exception) -> str | None:
    """Message for an exhausted resource (memory, disk); None for a defect of the program."""
    # By name, because torch is not imported here.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "out of memory; reduce data.batch_size"
    return disk_trouble(error)
