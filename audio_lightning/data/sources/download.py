"""Download of data sets: archives are fetched once, verified, and unpacked."""

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
    """Download a ``.tar.gz`` archive into a folder and unpack it there, once, even if several processes try it.

    Args:
        urls: mirrors of the archive, which stays in the folder under its name; see :func:`fetch`.
        folder: destination, created if missing.
        sha256: expected checksum of the archive; None if unknown.
        present: returns whether the data is in the folder; called again after waiting for another process.
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
    """Unpack a ``.tar.gz`` archive into a folder that contains none of its entries.

    Everything is unpacked into a hidden folder before anything is moved into place. If a process is killed while
    it moves them, :func:`is_half_unpacked` returns True, and the next call completes the move.

    Raises:
        DataError: a damaged archive, an archive with entries that lead out of the folder, a full disk, or an existing
            entry.
    """
    unpacking, unpacked = folder / ".unpacking", folder / UNPACKED
    try:
        if not unpacked.exists():
            shutil.rmtree(unpacking, ignore_errors=True)
            unpacking.mkdir()
            with tarfile.open(archive, "r:gz") as entries:
                entries.extractall(unpacking, filter="data")
            if in_the_way := sorted(set(os.listdir(unpacking)) & set(os.listdir(folder))):
                raise DataError(f"{archive} has {in_the_way[0]}, which is in {folder} already; choose an empty folder")
            unpacking.rename(unpacked)
        for entry in sorted(unpacked.iterdir()):
            entry.rename(folder / entry.name)
        unpacked.rmdir()
    except (tarfile.TarError, EOFError, zlib.error, BadGzipFile) as error:
        raise DataError(f"{archive} is damaged ({error}); delete it, then repeat the command") from error
    except OSError as error:
        raise DataError(
            f"{archive} cannot be unpacked into {folder}: {reason_of(error)}; correct that, then repeat the command"
        ) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def is_half_unpacked(folder: Path) -> bool:
    """Whether a process was killed, or is still running, while moving unpacked entries into this folder."""
    return (folder / UNPACKED).exists()
