"""Data sets from the network: fetched once, checked, and unpacked."""

import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from gzip import BadGzipFile
from pathlib import Path

from audio_lightning.core.errors import DataError
from audio_lightning.core.fetch import Progress, fetch, locked, reason_of

UNPACKED = ".unpacked"


def download(
    urls: Sequence[str],
    folder: Path,
    *,
    sha256: str | None,
    present: Callable[[], bool],
    progress: Progress | None = None,
) -> None:
    """Fetch a ``.tar.gz`` archive into a folder and unpack it there, once, whoever else is about to do the same.

    Args:
        urls: addresses of the archive, which stays in the folder under its name; see :func:`fetch`.
        folder: made where there is none.
        sha256: checksum that the archive must have; None where it is unknown.
        present: whether the data is in the folder; asked again when another process has been waited for.
        progress: see :func:`fetch`.

    Raises:
        DataError: see :func:`fetch`, :func:`locked` and :func:`unpack`.
    """

    def finished() -> bool:
        return present() and not is_half_unpacked(folder)

    if finished():
        return
    with locked(folder):
        if not finished():
            archive = folder / urls[0].rpartition("/")[2]
            fetch(urls, archive, checksum=sha256 and f"sha256:{sha256}", progress=progress)
            unpack(archive, folder)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ``.tar.gz`` archive into a folder that has nothing in it of what the archive holds.

    All of it is unpacked into a hidden folder before any of it is moved into place. Where a killed process leaves the
    moving half-done, :func:`is_half_unpacked` says so, and the next call completes it.

    Raises:
        DataError: a damaged archive, one with entries that lead out of the folder, a full disk, or something that is
            in the way.
    """
    unpacking, unpacked = folder / ".unpacking", folder / UNPACKED
    try:
        if not unpacked.exists():
            shutil.rmtree(unpacking, ignore_errors=True)
            unpacking.mkdir()
            with tarfile.open(archive, "r:gz") as entries:
                entries.extractall(unpacking, filter="data")
            if in_the_way := sorted(set(os.listdir(unpacking)) & set(os.listdir(folder))):
                raise DataError(f"{archive} holds {in_the_way[0]}, and so does {folder} already: name an empty folder")
            unpacking.rename(unpacked)
        for entry in sorted(unpacked.iterdir()):
            entry.rename(folder / entry.name)
        unpacked.rmdir()
    except (tarfile.TarError, EOFError, zlib.error, BadGzipFile) as error:
        raise DataError(f"{archive} is damaged ({error}): delete it, then give the same command again") from error
    except OSError as error:
        raise DataError(
            f"{archive} cannot be unpacked into {folder}: {reason_of(error)}; mend that, then give the same command "
            "again"
        ) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def is_half_unpacked(folder: Path) -> bool:
    """Whether a process was killed, or is still busy, while it moved what it had unpacked into this folder."""
    return (folder / UNPACKED).exists()
