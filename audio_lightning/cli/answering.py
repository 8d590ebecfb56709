"""How commands end: with an answer, a message, or the traceback of a defect."""

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from audio_lightning.errors import Interrupted, UserError


def answering(action: Callable[[], int], *, folder: Path | None = None) -> int:
    """Run ``action`` and return an exit code.

    Args:
        action: returns its exit code.
        folder: of the run that it trains, if it does.

    Returns:
        The code of ``action``; 2 with a message for a user's mistake; 1 with a traceback for a defect; 130 or 143
        when interrupted.
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
    except Exception:
        traceback.print_exc()
        log.info("failed", exc_info=True)
        return 1


def _interrupted(code: int, folder: Path | None) -> int:
    hint = f"; go on with: python train.py resume={folder}" if folder else ""
    print(f"interrupted{hint}", file=sys.stderr)
    return code
