"""Downloaded published weights: search order, and errors if they are not available."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.models.pretrained import published_files
from audio_lightning.models.pretrained.backbone import load_tensors, read_tensors
from audio_lightning.models.pretrained.published_files import PublishedFile

CONTENT = b"weights"
FILE = PublishedFile("https://host.invalid/net.pth?download=1", 3, f"md5:{hashlib.md5(CONTENT).hexdigest()}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache folder for weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for name in (published_files.MIRROR, published_files.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub/checkpoints"


def test_a_file_is_downloaded_once(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def fetch(urls: Sequence[str], file: Path, *, checksum: str | None) -> None:
        asked.append(urls)
        assert checksum == FILE.checksum
        file.write_bytes(CONTENT)

    monkeypatch.setattr(published_files, "fetch", fetch)
    assert not FILE.is_here
    assert FILE.path() == FILE.path() == hub / "net.pth"
    assert FILE.is_here
    assert asked == [["https://host.invalid/net.pth?download=1"]]


def test_a_mirror_comes_before_a_download(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(published_files.MIRROR, str(tmp_path))
    monkeypatch.setenv(published_files.OFFLINE, "1")
    with pytest.raises(ConfigError, match=r"net\.pth is not on this machine, and HF_HUB_OFFLINE is set; get https://"):
        FILE.path()
    (tmp_path / "net.pth").write_bytes(CONTENT)
    assert FILE.path() == tmp_path / "net.pth"


def test_another_file_of_that_name_is_refused(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "net.pth").write_bytes(b"others")
    with pytest.raises(ConfigError, match=r"net\.pth is not the published file: its md5 is .*; delete it"):
        FILE.path()


def test_a_failed_download_is_one_line_with_address_and_path(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(urls: Sequence[str], file: Path, *, checksum: str | None) -> None:
        raise DataError(f"{urls[0]} cannot be fetched: no route to host")

    monkeypatch.setattr(published_files, "fetch", fail)
    expected = rf"no route to host; or get https://.* \(3 MB, md5:.*\) elsewhere and put it at {hub}/net\.pth$"
    with pytest.raises(ConfigError, match=expected) as raised:
        FILE.path()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_tensors_are_found_at_any_key_of_a_file(key: str | None, hub: Path) -> None:
    network = nn.Linear(2, 3)
    file = PublishedFile("https://host.invalid/net.pth", 1)
    file.place.parent.mkdir(parents=True)
    state = {**network.state_dict(), "other.weight": torch.zeros(2)}
    torch.save(state if key is None else {key: state, "epoch": 3}, file.place)
    found = read_tensors(file, "Net", torch.device("cpu"))
    other = nn.Linear(2, 3)
    load_tensors(other, found, file, "Net")
    assert torch.equal(other.weight, network.weight)
    with pytest.raises(ConfigError, match=r"net\.pth contains no weights of Net: 'bias' is missing"):
        load_tensors(other, {"weight": found["weight"]}, file, "Net")
    with pytest.raises(ConfigError, match=r"net\.pth contains no weights of Net: .*size mismatch"):
        load_tensors(nn.Linear(3, 3), found, file, "Net")


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_a_damaged_file_is_refused(content: bytes, hub: Path) -> None:
    file = PublishedFile("https://host.invalid/net.pth", 1)
    file.place.parent.mkdir(parents=True)
    file.place.write_bytes(content)
    with pytest.raises(ConfigError, match=r"net\.pth contains no weights of Net: "):
        read_tensors(file, "Net", torch.device("cpu"))
