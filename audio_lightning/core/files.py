"""Atomic writes, and readers that turn any damage to a file into one line.

A killed process or a full disk never leaves half a file. What is read may come from anybody: a file may be missing,
empty, a pipe, of another encoding, or made to exhaust the memory.
"""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shlex
import stat
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from audio_lightning.core.errors import ConfigError, FileError

A_RUN = "expected a folder with config.yaml, as a training leaves it"
A_SWEEP = "expected a folder with sweep.json, as sweep.py leaves it"
"""What is said of a folder that is none."""

FIT_STATE = "state.json", "clock.json"
"""Files by which the folder of a fit is known, also of one that has not ended."""

if TYPE_CHECKING:
    import pandas as pd

MOST_JSON = 2**24
"""Bytes of a JSON file."""

MOST_CSV = 2**32
"""Bytes of a table."""

MOST_HEADER = 2**22
"""Bytes of its first line."""

MOST_COLUMNS = 20_000
"""Columns of a table: predictions have one for each class."""


def write_text(path: Path, text: str) -> None:
    """Write a whole file in UTF-8, or leave the old one as it was.

    Raises:
        OSError: with the name of the file.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same as :func:`write_text` for bytes."""
    with written_whole(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a hidden file beside ``path`` to write to, which takes its place when the block ends without an error.

    Raises:
        OSError: with the name of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.close(handle)
        yield Path(partial)
        with open(partial, "r+b") as file:
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(partial, path)
    except BaseException as error:
        os.unlink(partial)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def disk_trouble(error: BaseException) -> str | None:
    """A line on a disk that is full or fails, with the remedy; None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.filename or 'while writing the run folder'}): make room"
    if isinstance(error, OSError) and error.filename and error.errno in (errno.EIO, errno.EFBIG, errno.EROFS):
        return f"{error.filename}: {error.strerror}"
    if "disk is full" in str(error):  # as SQLite says it, through SQLAlchemy and Optuna
        return "the disk is full (while writing a database): make room"
    return None


def write_json(path: Path, values: Any) -> None:
    """Write JSON for people to read, too; see :func:`to_json`."""
    write_text(path, to_json(values, indent=2) + "\n")


def to_json(values: Any, *, indent: int | None = None) -> str:
    """JSON that every reader takes: null for NaN and infinity, which Python writes as words outside JSON."""
    return json.dumps(without_nan(values), indent=indent, ensure_ascii=False, allow_nan=False)


def without_nan(values: Any) -> Any:
    """Plain values with None in place of every NaN and infinity, at any depth."""
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@contextlib.contextmanager
def open_regular(path: Path, *, most: int, follow: bool = False) -> Iterator[BinaryIO]:
    """Open a file to read it, unless it is something else by that name.

    Args:
        path: the file.
        most: bytes that it may have.
        follow: it may be a link that leads out of its folder, since it was named itself.

    Raises:
        FileError: it is missing, cannot be read, is a pipe, a device or a folder, leads elsewhere, or is too large.
    """
    try:
        if not follow and path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
            raise FileError(f"{path} is a link that leads out of its folder: put the file itself in its place")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # to open a pipe would wait for its writer
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{path}: expected a file, found {kind_of(found.st_mode)}")
            if found.st_size > most:
                raise FileError(f"{path}: {found.st_size:,} bytes, expected at most {most:,}")
            yield file
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is damaged: byte {error.start:,} is not UTF-8") from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def read_text(path: Path, *, most: int = MOST_JSON) -> str:
    """Read a whole file in UTF-8.

    Raises:
        FileError: see :func:`open_regular`; also if it is not UTF-8.
    """
    with open_regular(path, most=most) as file:
        return file.read(most).decode("utf-8")


def kind_of(mode: int) -> str:
    """The kind of a file that is no regular one, by its mode, in words."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileError: see :func:`read_text`; also if it is not JSON, or not an object.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: expected a JSON object, found {shortened(found)}")
    return found


def read_frame(
    path: Path, *, texts: Sequence[str] = (), required: Sequence[str] = (), others: bool = True, whole: bool = True
) -> "pd.DataFrame":
    """Read a table that this program wrote.

    Args:
        path: a CSV file.
        texts: columns that hold words, where they are there, as they stand: a class may be called "none". All others
            hold numbers, NaN where they are empty.
        required: columns that must be there, without an empty cell where they hold numbers.
        others: read columns that are not required, too.
        whole: the last line counts even without a line break; if False, it is left out then.

    Raises:
        FileError: see :func:`open_regular`; also if it is not such a table.
    """
    import pandas as pd

    with open_regular(path, most=MOST_CSV) as file:
        try:
            header = next(csv.reader([file.readline(MOST_HEADER).decode("utf-8")]), [])
            if lacking := [name for name in required if name not in header]:
                raise FileError(f"{path} is damaged: its header lacks {', '.join(lacking)}")
            if len(header) > MOST_COLUMNS or len(header) > len(set(header)):
                raise FileError(f"{path} is damaged: its header has too many columns, or one twice")
            wanted = [name for name in header if others or name in required]
            numbers = [name for name in wanted if name not in texts]
            file.seek(0)
            source = file if whole else io.BytesIO(file.read().rpartition(b"\n")[0])
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                frame = pd.read_csv(
                    source,
                    usecols=wanted,
                    dtype=dict.fromkeys(texts, str),
                    keep_default_na=False,
                    na_values={name: ["", "nan"] for name in numbers},
                    encoding="utf-8",
                    low_memory=False,
                )
        except UnicodeDecodeError:
            raise
        except (ValueError, OverflowError, Warning, csv.Error) as error:
            raise FileError(f"{path} is damaged: {first_line(error)}") from error
    if wrong := [name for name in numbers if frame[name].dtype.kind not in "iuf" and len(frame)]:
        raise FileError(f"{path} is damaged: {shortened(wrong[0])} has a value that is no number")
    if empty := [name for name in wanted if name in (*texts, *required) and frame[name].isna().any()]:
        raise FileError(f"{path} is damaged: {shortened(empty[0])} has no value in a row")
    if not isinstance(frame.index, pd.RangeIndex):
        raise FileError(f"{path} is damaged: its rows have more values than its header has names")
    return frame


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def shortened(value: Any, most: int = 40) -> str:
    """A value as it may stand in a message."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}..."


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def require_folder(path: Path, expected: str) -> None:
    """Refuse a folder that does not exist; cheap, so that a typing error is answered before Hydra is imported.

    Args:
        path: as it was typed.
        expected: what the folder should be.

    Raises:
        ConfigError: with the nearest path that exists.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: {expected}; there is no such folder{nearest_path(path)}")
    if expected in (A_RUN, A_SWEEP) and all((path / name).is_file() for name in FIT_STATE):
        raise ConfigError(
            f"{path}: {expected}; it is the folder of a fit, which goes on with {_fit_command(path)} (add refit=true "
            f"for models that are trained on everything); its trainings are the sweep {path / 'trials'}"
        )


def _fit_command(folder: Path) -> str:
    try:
        words = read_json(folder / "trials/sweep.json")["overrides"]
        return shlex.join(["audio-lightning", "fit", *map(str, words)])
    except (FileError, KeyError, TypeError):  # no training was begun
        return "the line that began it"


def nearest_path(path: Path) -> str:
    """The end of an error message about a path that does not exist: the nearest one that does, or nothing.

    Args:
        path: as it was typed; the nearest one is shown in the same form, quoted for the shell.
    """
    above = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    missing, *below = path.absolute().relative_to(above).parts
    names: list[str] = []
    with contextlib.suppress(OSError):  # a file, or a folder that cannot be read
        names = os.listdir(above)
    from difflib import get_close_matches  # not where nothing is wrong

    near = get_close_matches(missing, sorted(names), n=1, cutoff=0.6)
    if not near or len(path.parts) <= len(below):
        return ""
    found = path.parents[len(below)] / near[0]
    whole = found.joinpath(*below)
    return f"; did you mean {shlex.quote(str(whole if os.path.exists(whole) else found))}?"
