"""Atomic writes, and readers that report any damage to a file in one line.

A killed process or a full disk never leaves a partial file. Input files are not trusted: a file may be missing, empty,
a pipe, in another encoding, or made to exhaust the memory.
"""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shlex
import shutil
import signal
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from audio_lightning.core.errors import ConfigError, FileError

A_RUN = "expected a folder with config.yaml, written by a training"
A_SWEEP = "expected a folder with sweep.json, written by sweep.py"
"""Descriptions of expected folders, for error messages."""

OWNERS: Mapping[str, Sequence[str]] = {
    "fit": ("state.json", "clock.json"),
    "sweep": ("sweep.json",),
    "run": ("config.yaml",),
}
"""Files that identify the folder of a fit (including an unfinished one), of a sweep and of a run."""

if TYPE_CHECKING:
    import pandas as pd

MOST_JSON = 2**24
"""Maximum size of a JSON file in bytes."""

MOST_CSV = 2**32
"""Maximum size of a CSV file in bytes."""

MOST_HEADER = 2**22
"""Maximum length of a CSV file's header line in bytes."""

MOST_COLUMNS = 20_000
"""Maximum number of columns of a CSV file; predictions have one for each class."""


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically: on failure, the old file remains.

    Raises:
        OSError: it cannot be written; the error contains the name of the file.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically; see :func:`write_text`."""
    with written_whole(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden file in the folder of ``path`` to write to; it replaces ``path`` if the block raises no error.

    A device or a pipe (:func:`is_stream`) is not replaced: a temporary file is copied into it.

    Raises:
        OSError: it cannot be written; the error contains the name of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = is_stream(path)
    with _cleanup_before_sigterm():
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=None if stream else path.parent)
        try:
            os.close(handle)
            yield Path(partial)
            if stream:
                with open(partial, "rb") as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
                os.unlink(partial)
                return
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
            os.chmod(partial, 0o644)  # mkstemp makes files that only their owner can read
            os.replace(partial, path)
        except BaseException as error:
            Path(partial).unlink(missing_ok=True)  # SIGTERM may arrive after it was moved
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise


def is_stream(path: Path) -> bool:
    """Whether a path names a device, a pipe, a socket or an open file (``/dev/stdout``), which only passes bytes on.

    Replacing it, as :func:`written_whole` replaces a file, would remove the device from the system.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    # If stdout is a file, /dev/stdout is a link to it: the file must be written, and the link must remain.
    above = os.path.realpath(path.parent)
    return not stat.S_ISDIR(mode) and (
        not stat.S_ISREG(mode) or above in ("/dev", "/dev/fd") or above.startswith("/proc/")
    )


class _Terminated(BaseException):
    """SIGTERM as an exception, so that what the process was doing is cleaned up."""


@contextlib.contextmanager
def _cleanup_before_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the context by an exception before it ends the process, if nothing else handles it.

    Its default action would end the process without any cleanup. Lightning handles SIGTERM only while it trains.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the cleanup
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""


def disk_trouble(error: BaseException) -> str | None:
    """Describe a full or failing disk in one line, with the remedy; None for any other error."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"the disk is full ({error.filename or 'while writing the run folder'}): make room"
    if isinstance(error, OSError) and error.filename and error.errno in (errno.EIO, errno.EFBIG, errno.EROFS):
        return f"{error.filename}: {error.strerror}"
    if "disk is full" in str(error):  # SQLite's message, passed on by SQLAlchemy and Optuna
        return "the disk is full (while writing a database): make room"
    return None


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON; see :func:`to_json`."""
    write_text(path, to_json(values, indent=2) + "\n")


def to_json(values: Any, *, indent: int | None = None) -> str:
    """Serialize to standard JSON: NaN and infinity, which Python would write as non-standard words, become null."""
    return json.dumps(without_nan(values), indent=indent, ensure_ascii=False, allow_nan=False)


def without_nan(values: Any) -> Any:
    """Replace every NaN and infinity by None, at any depth."""
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@contextlib.contextmanager
def open_regular(path: Path, *, most: int, follow: bool = False) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Args:
        path: the file.
        most: maximum size in bytes.
        follow: allow a symbolic link that leads out of its folder; for paths that the user gave.

    Raises:
        FileError: the file is missing, unreadable or too large, is a pipe, a device or a folder, or is a link that
            leads out of its folder.
    """
    try:
        if not follow and path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
            raise FileError(f"{path} is a link that leads out of its folder; put the file itself in its place")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a blocking open of a pipe would hang
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise FileError(f"{path}: expected a file, found {kind_of(found.st_mode)}")
            if found.st_size > most:
                raise FileError(f"{path}: {found.st_size:,} bytes, expected at most {most:,}")
            yield file
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is damaged: byte {error.start:,} is not UTF-8; restore a copy") from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def read_text(path: Path, *, most: int = MOST_JSON) -> str:
    """Read a text file in UTF-8.

    Raises:
        FileError: see :func:`open_regular`; or the file is not UTF-8.
    """
    with open_regular(path, most=most) as file:
        return file.read(most).decode("utf-8")


def kind_of(mode: int) -> str:
    """Name the kind of a non-regular file, from its mode."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileError: see :func:`read_text`; or the file is not JSON, or not an object.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged, not JSON: {first_line(error)}; restore a copy") from error
    if not isinstance(found, dict):
        raise FileError(f"{path}: expected a JSON object, found {shortened(found)}")
    return found


def read_frame(
    path: Path, *, texts: Sequence[str] = (), required: Sequence[str] = (), others: bool = True, whole: bool = True
) -> "pd.DataFrame":
    """Read a CSV file that this program wrote.

    Args:
        path: the file.
        texts: columns that hold text, if present; kept verbatim, because a class may be called "none". All others hold
            numbers; an empty cell is NaN.
        required: columns that must be present; a required column of numbers has no empty cell.
        others: also read columns that are not required.
        whole: keep a last line without a line break; False drops it, for a file that is still being written.

    Raises:
        FileError: see :func:`open_regular`; or the file is not such a table.
    """
    import pandas as pd

    with open_regular(path, most=MOST_CSV) as file:
        try:
            header = next(csv.reader([file.readline(MOST_HEADER).decode("utf-8")]), [])
            if lacking := [name for name in required if name not in header]:
                raise FileError(f"{path} is damaged: its header lacks {', '.join(lacking)}; restore a copy")
            if len(header) > MOST_COLUMNS or len(header) > len(set(header)):
                raise FileError(f"{path} is damaged: its header has too many columns, or one twice; restore a copy")
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
            raise FileError(f"{path} is damaged: {first_line(error)}; restore a copy") from error
    if wrong := [name for name in numbers if frame[name].dtype.kind not in "iuf" and len(frame)]:
        raise FileError(f"{path} is damaged: {shortened(wrong[0])} has a value that is not a number; restore a copy")
    if empty := [name for name in wanted if name in (*texts, *required) and frame[name].isna().any()]:
        raise FileError(f"{path} is damaged: {shortened(empty[0])} has no value in a row; restore a copy")
    if not isinstance(frame.index, pd.RangeIndex):
        raise FileError(f"{path} is damaged: its rows have more values than its header has names; restore a copy")
    return frame


def first_line(error: Exception) -> str:
    """First line of an exception's message."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def shortened(value: Any, most: int = 40) -> str:
    """Representation of a value for a message: printable, at most ``most`` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}..."


def as_yaml(value: Any) -> Any:
    """Return a value for a message as YAML and the command line write it: ``null``, ``true``, others unchanged."""
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def require_folder(path: Path, expected: str) -> None:
    """Raise an error if a folder does not exist; without imports, so that a typo is reported before Hydra is imported.

    Args:
        path: the folder, as typed.
        expected: description of the expected folder.

    Raises:
        ConfigError: there is no such folder (the message suggests the nearest path), or it is the folder of a fit.
    """
    if not os.path.lexists(path):
        raise ConfigError(f"{path}: {expected}; there is no such folder{nearest_path(path)}")
    if expected in (A_RUN, A_SWEEP) and owner_of(path) == "fit":
        raise ConfigError(
            f"{path}: {expected}; it is the folder of a fit: continue it with {_fit_command(path)} (add refit=true "
            f"for models trained on all data); its trainings are in the sweep {path / 'trials'}"
        )


def owner_of(folder: Path) -> str | None:
    """Return what a folder belongs to: ``fit``, ``sweep`` or ``run``; None if it is missing or belongs to none."""
    owners = (kind for kind, names in OWNERS.items() if all(os.path.isfile(folder / name) for name in names))
    return next(owners, None)


def check_owner(folder: Path, kind: str, *, key: str) -> None:
    """Check that a folder belongs to nothing, or to something of the same kind; other results would be overwritten.

    Args:
        folder: the folder to write to.
        kind: what is written there: ``fit``, ``sweep`` or ``run``.
        key: key of the folder on the command line, for the message.

    Raises:
        ConfigError: it belongs to something else (:func:`owner_of`).
    """
    if (owner := owner_of(folder)) not in (None, kind):
        raise ConfigError(f"{key}={folder}: is the folder of a {owner}, not of a {kind}; give another folder")


def check_free(option: str, folder: Path, own: Path | None = None) -> None:
    """Check that a folder for results does not hold the results of a run, a fit or a sweep.

    Args:
        option: name of the option (``--output``) or of the argument (``output=``), for the message.
        folder: the folder to write to.
        own: checkpoint whose run or fit may have the folder; None if none may.

    Raises:
        ConfigError: it does.
    """
    owner = owner_of(folder)
    if owner is None:
        return
    places = () if own is None else (*own.absolute().parents[:2], *own.resolve().parents[:2])
    if not any(os.path.exists(place) and os.path.samefile(folder, place) for place in places):
        where = f"{option}{folder}" if option.endswith("=") else f"{option} {folder}"
        of_another = "another " if own is not None else "a "
        raise ConfigError(
            f"{where}: is the folder of {of_another}{owner}, whose results must not change; give another folder"
        )


def check_creatable(folder: Path, *, key: str) -> None:
    """Check that a folder can be created and written, by a temporary folder in it or in its nearest existing parent.

    Args:
        folder: the folder.
        key: key of the folder on the command line, for the message.

    Raises:
        ConfigError: it cannot.
        OSError: the disk is full (:func:`disk_trouble`).
    """
    whole = folder.absolute()
    nearest = next(path for path in (whole, *whole.parents) if os.path.exists(path))
    try:
        for name in whole.relative_to(nearest).parts:
            with contextlib.suppress(FileNotFoundError):
                os.stat(nearest / name)  # raises an error for a name that the file system cannot store
        with tempfile.TemporaryDirectory(prefix=".writable.", dir=nearest):
            pass
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ConfigError(
            f"{key}={shortened(str(folder), 200)}: cannot be created or written ({shortened(str(nearest), 200)}: "
            f"{error.strerror}); give another folder"
        ) from error


def _fit_command(folder: Path) -> str:
    try:
        words = read_json(folder / "trials/sweep.json")["overrides"]
        return shlex.join(["audio-lightning", "fit", *map(str, words)])
    except (FileError, KeyError, TypeError):  # no training has begun
        return "the command that began it"


def nearest_path(path: Path) -> str:
    """Suggestion at the end of an error message about a missing path: the nearest existing path, or nothing.

    Args:
        path: the path as typed; the suggestion has the same form (relative or absolute), quoted for the shell.
    """
    above = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    missing, *below = path.absolute().relative_to(above).parts
    names: list[str] = []
    with contextlib.suppress(OSError):  # ``above`` is a file, or an unreadable folder
        names = os.listdir(above)
    from difflib import get_close_matches  # imported only after a mistake

    near = get_close_matches(missing, sorted(names), n=1, cutoff=0.6)
    if not near or len(path.parts) <= len(below):
        return ""
    found = path.parents[len(below)] / near[0]
    whole = found.joinpath(*below)
    return f"; did you mean {shlex.quote(str(whole if os.path.exists(whole) else found))}?"
