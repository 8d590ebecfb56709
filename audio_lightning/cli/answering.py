"""How commands end: with an answer, a message, or the traceback of a defect."""

import errno
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from audio_lightning.cli.output import command
from audio_lightning.errors import Interrupted, UserError


def answering(action: Callable[[], int], *, folder: Path | None = None) -> int:
    """Run ``action`` and return an exit code.

    Args:
        action: returns its exit code.
        folder: of the run that it trains, if it does.

    Returns:
        The code of ``action``; 2 with a message for a user's mistake; 1 for a full disk or memory, with a message, and
        for a defect, with its traceback; 130 or 143 when interrupted.
    """
    log = logging.getLogger(__name__)
    try:
        return action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        log.info("stopped: %s", error, exc_info=error.__cause__ is not None)
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted(130, folder)
    except Interrupted as stop:
        return _interrupted(stop.exit_code, folder)
    except BrokenPipeError:  # `audio-lightning predict ... | head`
        sys.stderr.close()
        return 141
    except Exception as error:
        if remedy := _remedy(error):
            print(f"error: {remedy}{_resume_hint(folder)}", file=sys.stderr)
        else:
            traceback.print_exc()
        log.info("failed", exc_info=True)
        return 1


def _remedy(error: Exception) -> str | None:
    """What to do about a machine that is too small; None for a defect of the program."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.filename or 'while writing the run folder'}): make room"
    if isinstance(error, OSError) and error.filename and error.errno in (errno.EIO, errno.EFBIG, errno.EROFS):
        return f"{error.filename}: {error.strerror}"
    # By name, because torch is not imported here.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "the memory is too small for this: try a smaller data.batch_size"
    return None


def _resume_hint(folder: Path | None) -> str:
    return f"; go on with: {command('python', 'train.py', f'resume={folder}')}" if folder else ""


def _interrupted(code: int, folder: Path | None) -> int:
    print(f"interrupted{_resume_hint(folder)}", file=sys.stderr)
    return code
