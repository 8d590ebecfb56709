"""What can go wrong because of what the program was given.

Everything a user can cause (a typo, a missing folder, a corrupt recording, a hostile checkpoint) is raised as a
subclass of :class:`UserError`. The command line prints its message without a traceback and exits with
``exit_code``; any other exception is a defect of this program and keeps its traceback.
"""

LONGEST_LINE = 3_000
"""Characters of a line of a message; of a longer one, which repeats what was given, the middle is left out."""


class UserError(Exception):
    """A mistake outside this program: the message says what was found, where, what was expected and what to do.

    It is one line, whatever was typed or read, unless the class lists several problems.
    """

    exit_code = 2
    may_list = False

    def __str__(self) -> str:
        text = super().__str__()
        if self.may_list:
            return "\n".join(map(_shortened, text.split("\n")))
        return _shortened("\\n".join(text.splitlines()))


class ConfigError(UserError):
    """An unknown key, choice or target, a wrong argument, a combination that cannot work."""


class AudioError(UserError):
    """One recording that cannot be read, or not as it claims to be."""


class DataError(UserError):
    """A data set that cannot be used as it is: wrong rows, missing or unreadable recordings, leaking splits."""

    may_list = True


class FileError(UserError):
    """A file of a run or a sweep that is damaged, or not what its name says."""


class CheckpointError(UserError):
    """A file that is not a checkpoint of this program, or one that asks for something it must not."""


class DiskError(UserError):
    """A disk that is full or fails; what was to be written is not there, and what was there before is whole."""

    exit_code = 1


class Interrupted(Exception):  # noqa: N818 - it is nobody's error
    """A training was told to stop; what it had reached is in ``checkpoints/last.ckpt``.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM, as shells have it.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
