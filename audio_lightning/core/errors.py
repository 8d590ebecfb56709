"""Exceptions for mistakes that the user can correct.

A typo, a missing folder, a corrupt recording or a hostile checkpoint is raised as a subclass of :class:`UserError`. The
command line prints its message without a traceback and exits with ``exit_code``. Any other exception is a defect of
this program and keeps its traceback.
"""

from audio_lightning.core.utf8 import as_utf8

LONGEST_LINE = 3_000
"""Maximum characters of a line of a message; the middle of a longer line, which repeats the input, is left out."""


class UserError(Exception):
    """A mistake outside this program; the message states where, what was found, what was expected and what to do.

    The message is one line, whatever the input contains, unless the class may list several problems (``may_list``).
    UTF-8 can encode it (:func:`audio_lightning.core.utf8.as_utf8`).
    """

    exit_code = 2
    may_list = False

    def __str__(self) -> str:
        text = as_utf8(super().__str__())
        if self.may_list:
            return "\n".join(map(_shortened, text.split("\n")))
        return _shortened("\\n".join(text.splitlines()))


class ConfigError(UserError):
    """An unknown key, choice or target, a wrong argument, or an impossible combination."""


class AudioError(UserError):
    """A recording that cannot be read, or whose content contradicts its header."""


class DataError(UserError):
    """A data set that cannot be used as it is: invalid rows, unreadable recordings, leakage between splits."""

    may_list = True


class FileError(UserError):
    """A file of a run or a sweep that is damaged, or not of the expected kind."""


class CheckpointError(UserError):
    """A file that is not a checkpoint of this program, or that refers to classes outside the allowed ones."""


class DiskError(UserError):
    """A disk that is full or failing; the new file is not written, and the old one is intact."""

    exit_code = 1


class Interrupted(Exception):  # noqa: N818 - an interruption is not an error
    """The training was interrupted by a signal; ``checkpoints/last.ckpt`` holds its last state.

    Attributes:
        exit_code: 130 for Ctrl-C (SIGINT), 143 for SIGTERM, by the convention of shells.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
