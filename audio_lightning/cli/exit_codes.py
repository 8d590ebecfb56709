"""How commands end: with an answer, a message, or the traceback of a defect."""

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from audio_lightning.cli.output import command
from audio_lightning.core.errors import DiskError, Interrupted, UserError
from audio_lightning.core.files import disk_trouble


def answering(action: Callable[[], int], *, folder: Path | None = None, then: str = "") -> int:
    """Run ``action`` and return an exit code.

    Args:
        action: returns its exit code.
        folder: of the run that it trains, if it does.
        then: what goes on with it once it has been interrupted or there is room again; by default to resume ``folder``.

    Returns:
        The code of ``action``; 2 with a message for a user's mistake; 1 for a full disk or memory, with a message, and
        for a defect, with its traceback; 130 or 143 when interrupted.
    """
    log = logging.getLogger(__name__)
    if folder is not None:
        then = f"go on with: {command('python', 'train.py', f'resume={folder}')}"
    hint = f"; {then}" if then else ""
    try:
        return action()
    except UserError as error:
        print(f"error: {error}{hint if isinstance(error, DiskError) else ''}", file=sys.stderr)
        log.info("stopped: %s", error, exc_info=error.__cause__ is not None)
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted(130, hint)
    except Interrupted as stop:
        return _interrupted(stop.exit_code, hint)
    except BrokenPipeError:  # `audio-lightning predict ... | head`
        sys.stderr.close()
        return 141
    except Exception as error:
        if remedy := _remedy(error):
            print(f"error: {remedy}{hint}", file=sys.stderr)
        else:
            traceback.print_exc()
        log.info("failed", exc_info=True)
        return 1


def _remedy(error: Exception) -> str | None:
    """What to do about a machine that is too small; None for a defect of the program."""
    # By name, because torch is not imported here.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "the memory is too small for this: try a smaller data.batch_size"
    return disk_trouble(error)


def _interrupted(code: int, hint: str) -> int:
    print(f"interrupted{hint}", file=sys.stderr)
    return code
