"""Text of file names that UTF-8 cannot encode.

On Linux, a file name is a sequence of bytes in any encoding. Python represents each byte that is not UTF-8 as half a
surrogate pair (PEP 383). Such text opens the file, but cannot be written to a table, a page or a terminal.
"""


def as_utf8(text: object) -> str:
    r"""Return text that UTF-8 can encode: each half of a surrogate pair becomes its escape sequence, ``\udce9``.

    These are the escape sequences of Python's ``backslashreplace``, which stderr and log messages have as well.

    Args:
        text: text, or a path.

    Example:
        >>> import os
        >>> from audio_lightning.core.utf8 import as_utf8
        >>> print(as_utf8(os.fsdecode(b"lat\xe9.wav")))
        lat\udce9.wav
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")
