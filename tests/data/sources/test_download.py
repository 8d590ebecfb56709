"""Downloads: resumed, verified, unpacked, and never partial."""

import functools
import hashlib
import io
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_speech

from audio_lightning.core import fetch as module
from audio_lightning.core.errors import DataError
from audio_lightning.core.fetch import fetch
from audio_lightning.data.sources.download import download, is_half_unpacked, unpack

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
CHECKSUM = f"sha256:{SHA256}"
CUT = 40_000


class Server(ThreadingHTTPServer):
    """Server of one file with configurable failures."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.serves_parts = True
        self.shift = 0  # offset of the served part, for a faulty server
        self.cut_after: int | None = None
        self.delay = 0.0
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/data.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        time.sleep(server.delay)
        if self.path != "/data.tar.gz":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.serves_parts else 0
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.end_headers()
            return
        body = server.body[start + server.shift if start else 0 :]
        self.send_response(206 if start else 200)
        if start:
            last = len(server.body) - 1
            self.send_header("Content-Range", f"bytes {start + server.shift}-{last}/{len(server.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=functools.partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_complete_download_is_checked_shown_and_not_repeated(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, seen = tmp_path / "new/data.bin", list[tuple[int, int]]()
    fetch([server.url], file, checksum=CHECKSUM, progress=lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert capsys.readouterr().out == f"data.bin: 102,400 bytes, sha256 {SHA256}\n"
    fetch([server.url], file, checksum=CHECKSUM)
    assert server.ranges == [None]
    assert [path.name for path in file.parent.iterdir()] == ["data.bin"]


def test_file_with_another_checksum_is_replaced(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(b"something else")
    fetch([server.url], file, checksum=CHECKSUM)
    assert file.read_bytes() == BODY


def test_without_a_known_checksum_the_found_one_is_shown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch([server.url], tmp_path / "data.bin", checksum=None)
    assert f"sha256 {SHA256}" in capsys.readouterr().out
    fetch([server.url], tmp_path / "data.bin", checksum=None)
    assert len(server.ranges) == 1


def test_broken_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cut_after = CUT
    with pytest.raises(DataError) as caught:
        fetch([server.url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert str(caught.value) == (
        f"{server.url} cannot be fetched: the connection broke off after 40,000 of 102,400 bytes; the 40,000 bytes "
        "that have arrived are kept; repeat the command to continue from there"
    )
    assert not (tmp_path / "data.bin").exists()
    assert (tmp_path / "data.bin.part").read_bytes() == BODY[:CUT]
    server.cut_after = None
    seen = list[tuple[int, int]]()
    fetch(
        [server.url], tmp_path / "data.bin", checksum=CHECKSUM, progress=lambda done, total: seen.append((done, total))
    )
    assert server.ranges == [None, f"bytes={CUT}-"]
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert seen[0][0] > CUT
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("part", "serves_parts", "shift", "requests"),
    [
        pytest.param(BODY[:CUT], False, 0, 1, id="a server that serves no parts"),
        pytest.param(BODY[:CUT], True, 10, 2, id="a server that serves another part"),
        pytest.param(BODY + b"more", True, 0, 2, id="more than there is"),
        pytest.param(BODY, True, 0, 1, id="all of it, but not yet checked"),
    ],
)
def test_download_that_cannot_be_resumed_restarts(
    server: Server, tmp_path: Path, part: bytes, serves_parts: bool, shift: int, requests: int
) -> None:
    server.serves_parts, server.shift = serves_parts, shift
    (tmp_path / "data.bin.part").write_bytes(part)
    fetch([server.url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.ranges[0] == f"bytes={len(part)}-"
    assert len(server.ranges) == requests


def test_wrong_checksum_is_an_error_and_the_file_is_deleted(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        DataError, match=f"damaged, and was deleted: .* expected sha256:{'0' * 64} but got {SHA256}; nothing"
    ):
        fetch([server.url], tmp_path / "data.bin", checksum=f"sha256:{'0' * 64}")
    assert f"data.bin: {len(BODY):,} bytes, sha256 {SHA256}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_server_error(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("data.", "gone.")
    with pytest.raises(DataError) as caught:
        fetch([url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert str(caught.value) == (
        f"{url} cannot be fetched: the server returned 404 Not Found; nothing has arrived yet; repeat the "
        "command to try again"
    )


def test_mirror_is_used_if_the_first_server_fails(server: Server, tmp_path: Path) -> None:
    gone = server.url.replace("data.", "gone.")
    fetch([gone, server.url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    with pytest.raises(DataError, match=rf"{gone} cannot be fetched: .* 404 .*; {gone} cannot be fetched: .* 404 "):
        fetch([gone, gone], tmp_path / "other.bin", checksum=CHECKSUM)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "data.bin.part").write_bytes(BODY[:CUT])
    with Server() as closed:
        pass
    with pytest.raises(DataError, match="cannot be fetched: Connection refused; the 40,000 bytes that have arrived"):
        fetch([closed.url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert (tmp_path / "data.bin.part").read_bytes() == BODY[:CUT]


def test_silent_server_times_out(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.1)
    server.delay = 0.5
    with pytest.raises(DataError, match="cannot be fetched: timed out; nothing has arrived yet"):
        fetch([server.url], tmp_path / "data.bin", checksum=CHECKSUM)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match="cannot be fetched: No space left on device"):
        fetch([server.url], tmp_path / "data.bin", checksum=CHECKSUM)
    assert not (tmp_path / "data.bin").exists()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small .tar.gz in its own folder, into which it is unpacked."""
    for name in ("no/1.wav", "yes/1.wav", "yes/2.wav", "README.md"):
        tiny_speech.write_clip(tmp_path / "packed" / name)
    (tmp_path / "data").mkdir()
    tiny_speech.pack(tmp_path / "packed", tmp_path / "data/words.tar.gz")
    return tmp_path / "data/words.tar.gz"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


UNPACKED = ["README.md", "no/1.wav", "words.tar.gz", "yes/1.wav", "yes/2.wav"]


def test_archive_is_unpacked_into_its_folder(archive: Path) -> None:
    unpack(archive, archive.parent)
    assert names(archive.parent) == UNPACKED


def test_killed_unpacking_restarts(archive: Path) -> None:
    tiny_speech.write_clip(archive.parent / ".unpacking/yes/half.wav")
    unpack(archive, archive.parent)
    assert names(archive.parent) == UNPACKED


def test_killed_move_is_completed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == "yes":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, archive.parent)
    assert (archive.parent / "no/1.wav").exists()
    assert is_half_unpacked(archive.parent)
    unpack(archive, archive.parent)
    assert names(archive.parent) == UNPACKED
    assert not is_half_unpacked(archive.parent)


@pytest.mark.parametrize("damage", ["cut off", "changed", "none at all"])
def test_a_damaged_archive_leaves_nothing_behind(archive: Path, damage: str) -> None:
    content = archive.read_bytes()
    changed = content[:60] + bytes(byte ^ 0x55 for byte in content[60:90]) + content[90:]
    archive.write_bytes({"cut off": content[:-40], "changed": changed, "none at all": b"<html>"}[damage])
    with pytest.raises(DataError, match=r"words.tar.gz is damaged \(.+\); delete it, then repeat the command"):
        unpack(archive, archive.parent)
    assert names(archive.parent) == ["words.tar.gz"]


def test_an_archive_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as entries:
        entries.addfile(tarfile.TarInfo("../outside.wav"), io.BytesIO())
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"bad.tar.gz is damaged \(.*outside"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "data")
    assert names(tmp_path) == ["bad.tar.gz"]


def test_what_is_in_the_folder_is_not_overwritten(archive: Path) -> None:
    tiny_speech.write_clip(archive.parent / "yes/mine.wav")
    with pytest.raises(DataError, match=r"words.tar.gz has yes, which is in .*data already; choose an empty folder"):
        unpack(archive, archive.parent)
    assert names(archive.parent) == ["words.tar.gz", "yes/mine.wav"]


def test_concurrent_processes_download_once(server: Server, archive: Path, tmp_path: Path) -> None:
    server.body = archive.read_bytes()
    server.delay = 0.5
    code = (
        "import sys, pathlib; from audio_lightning.data.sources.download import download; "
        "folder = pathlib.Path(sys.argv[2]); "
        "download([sys.argv[1]], folder, sha256=sys.argv[3], present=(folder / 'yes').exists)"
    )
    line = [sys.executable, "-c", code, server.url, str(tmp_path / "new/root"), hashlib.sha256(server.body).hexdigest()]
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(server.ranges) == 1
    assert sum("sha256" in text for text in printed) == 1
    assert "README.md" in names(tmp_path / "new/root")


def test_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot download to .*below: .+; choose a writable folder"):
        download(["http://127.0.0.1:9/x.tar.gz"], tmp_path / "file/below", sha256=None, present=lambda: False)
