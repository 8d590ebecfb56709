"""Resumable downloads of single files, verified by checksum."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from audio_lightning.core.errors import DataError
from audio_lightning.core.messages import print_and_log

Progress = Callable[[int, int], None]

TIMEOUT_SECONDS = 30.0
"""Maximum time without data from a server, in seconds."""

CHUNK_BYTES = 2**20


def fetch(urls: Sequence[str], file: Path, *, checksum: str | None, progress: Progress | None = None) -> None:
    """Download a file, or the rest of a partial download, and verify its checksum; a complete file is kept.

    pooch verifies the file and moves it into place. It restarts every download from the beginning, so the downloader
    (:func:`_receive`) is our own: it keeps bytes in ``<file>.part``, and the next call requests the rest. Only one
    process at a time may fetch a file: see :func:`locked`.

    Args:
        urls: mirrors of the same file; each is tried if the previous one fails.
        file: destination.
        checksum: expected checksum, ``sha256:...`` or ``md5:...`` in hexadecimal; None if unknown.
        progress: called with the number of bytes received and the total; never, if the server does not state the total.

    Raises:
        DataError: no network, a server error, a connection that breaks off, a full disk, or a wrong checksum.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    part = file.with_name(f"{file.name}.part")

    def receive(url: str, output: str, _: object) -> None:
        _receive(url, part, progress)
        part.replace(output)
        print_and_log(f"{file.name}: {Path(output).stat().st_size:,} bytes, sha256 {pooch.file_hash(output)}")

    failed = list[str]()
    for url in urls:
        try:
            pooch.retrieve(url, checksum, file.name, file.parent, downloader=receive)
            return
        except ValueError as error:
            failed.append(f"{url} has changed or arrived damaged, and was deleted: {str(error).partition('. ')[0]}")
        except (OSError, HTTPException) as error:
            failed.append(f"{url} cannot be fetched: {reason_of(error)}")
    raise DataError(f"{'; '.join(failed)}; {_kept_bytes(part)}")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a download folder, which is created if missing; waits while another process holds the lock.

    Raises:
        DataError: the folder cannot be written.
    """
    lock = FileLock(folder / ".download.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print_and_log(f"another process is downloading to {folder}: waiting for it")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise DataError(f"cannot download to {folder}: {reason_of(error)}; choose a writable folder") from error
    try:
        yield
    finally:
        lock.release()


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    response, done = _request(url, part.stat().st_size if part.exists() else 0)
    if response is None:
        return
    with response, part.open("ab" if done else "wb") as out:
        length = response.headers["Content-Length"]
        total = done + int(length) if length else None
        # `read` would wait for a whole chunk, and lose the beginning of a chunk that breaks off.
        while chunk := response.read1(CHUNK_BYTES):
            out.write(chunk)
            done += len(chunk)
            if progress is not None and total is not None:
                progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection broke off after {done:,} of {total:,} bytes")


def _request(url: str, have: int) -> tuple[HTTPResponse | None, int]:
    """The response and its start position, ``have`` if possible; no response if the file is complete already."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code != 416 or not have:
            raise
        error.close()
        return (None, have) if error.headers["Content-Range"] == f"bytes */{have}" else _request(url, 0)
    if response.status != 206 or not have:
        return response, 0
    if (response.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
        return response, have
    response.close()
    return _request(url, 0)


def reason_of(error: Exception) -> str:
    """Short reason of a network or file error."""
    if isinstance(error, HTTPError):
        return f"the server returned {error.code} {error.reason}"
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _kept_bytes(part: Path) -> str:
    size = part.stat().st_size if part.exists() else 0
    if not size:
        return "nothing has arrived yet; repeat the command to try again"
    return f"the {size:,} bytes that have arrived are kept; repeat the command to continue from there"
