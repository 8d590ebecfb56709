"""Checkpoint archives: every byte is verified, and nothing expands beyond the size of the file."""

import io
import pickle
import resource
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_lightning.classifier.checkpoint import write_checkpoint
from audio_lightning.core.archive import DamagedArchive, RefusedArchive, check_contents, check_seal, seal
from audio_lightning.core.errors import CheckpointError


def marked(tensor: torch.Tensor) -> torch.Tensor:
    """Tensor with an attribute, as in a state dict of FSDP."""
    tensor.mark = True  # type: ignore[attr-defined]
    return tensor


HONEST = {
    "with an attribute": marked(torch.ones(2)),
    "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3).T, empty=torch.empty(0), number=torch.tensor(3)),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "of others": [torch.nn.Parameter(torch.ones(2)), {1, 2}, 1 + 2j, torch.device("cpu")],
    "schedule": Counter([3, 3, 7]),
    "config": {"a": [1, 2.5, None, True, "x", 2**70], "b": (1, -3, 300, 70000)},
}


def saved(contents: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(contents, file)
    return file


def test_valid_archive_is_read_by_torch() -> None:
    file = saved(HONEST)
    check_seal(file)  # of an older version, without a seal
    seal(file)
    check_seal(file)
    check_contents(file)
    file.seek(0)
    found = torch.load(file, weights_only=True)
    assert torch.equal(found["state_dict"]["weight"], HONEST["state_dict"]["weight"])  # type: ignore[index]
    assert found["config"] == HONEST["config"]


def test_any_changed_byte_is_detected() -> None:
    file = saved({"weight": torch.arange(8.0)})
    seal(file)
    data = bytearray(file.getvalue())
    for place in range(len(data)):
        data[place] ^= 0x10
        with pytest.raises(DamagedArchive):
            check_seal(io.BytesIO(data))
        data[place] ^= 0x10
    for length in range(0, len(data), 7):
        with pytest.raises(DamagedArchive):
            check_seal(io.BytesIO(data[:length]))


def test_changed_weights_are_detected_without_a_seal() -> None:
    file = saved({"weight": torch.arange(800.0)})
    data = bytearray(file.getvalue())
    data[data.index(torch.arange(100.0, 104).numpy().tobytes()) + 1] ^= 1
    with pytest.raises(DamagedArchive, match="checksum"):
        check_seal(io.BytesIO(data))


def rewritten(change: Callable[[str, bytes], bytes], **options: Any) -> io.BytesIO:
    """The valid archive with other records."""
    source, file = zipfile.ZipFile(saved(HONEST)), io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return file


def pickled(contents: bytes) -> io.BytesIO:
    return rewritten(lambda name, data: contents if name.endswith("data.pkl") else data)


def shorter(name: str, data: bytes) -> bytes:
    return data[:4] if len(data) == 24 else data


def nested(levels: int) -> list[Any]:
    value: list[Any] = [0]
    for _ in range(levels):
        value = [value] * 10
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


CALLED = b"\x80\x02c%s\n(J\xff\xff\xff\x7ftR."
"""Pickle that calls a type with 2**31 - 1, to allocate that many elements."""


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, tuple[Callable[[], io.BytesIO], str]] = {
    "expanded": (lambda: saved(torch.zeros(1).expand(10**10)), "more than the file holds"),
    "overlapping": (lambda: saved(torch.zeros(99).as_strided((99, 99), (0, 1))), "more than the file holds"),
    "deflated": (
        lambda: rewritten(lambda _, data: data, compression=zipfile.ZIP_DEFLATED),
        "more than the file holds",
    ),
    "shorter than said": (lambda: rewritten(shorter), "as many numbers as it states"),
    "expanded, with an attribute": (lambda: saved(marked(torch.zeros(1).expand(10**10))), "more than the file holds"),
    "a type is called": (lambda: pickled(CALLED % b"torch\nTensor"), "structure cannot be read"),
    "a parameter is called": (lambda: pickled(CALLED % b"torch.nn.parameter\nParameter"), "structure cannot be read"),
    "sparse": (lambda: saved(torch.eye(2).to_sparse_csr()), "Python objects"),
    "on no device": (lambda: saved(torch.empty(10**12, device="meta")), "Python objects"),
    "reserves": (lambda: pickled(pickle.dumps(Call(bytearray, 10**12), 2)), "Python objects"),
    "reserves by a later protocol": (lambda: pickled(b"\x80\x05\x96" + (10**12).to_bytes(8, "little")), "KeyError"),
    "ten to the twelfth": (lambda: saved(nested(12)), "nested too deep"),
    "within itself": (lambda: saved(endless()), "nested too deep"),
    "deep": (lambda: pickled(b"\x80\x02" + b"]" * 500 + b"a" * 499 + b"."), "nested too deep"),
    "nothing on the stack": (lambda: pickled(b"\x80\x02a."), "structure cannot be read"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", HOSTILE)
def test_archive_that_expands_beyond_its_size_is_refused(name: str) -> None:
    make, message = HOSTILE[name]
    with pytest.raises((RefusedArchive, DamagedArchive), match=message):
        check_contents(make())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_records_are_refused() -> None:
    file = saved(HONEST)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(archive.namelist()[0], b"x")
    with pytest.raises(RefusedArchive, match="two records"):
        check_contents(file)


def test_failed_verification_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, {"epoch": 1})
    before = path.read_bytes()

    def unreliable(_: int) -> None:
        (partial,) = tmp_path.glob(".last.ckpt.*")
        data = bytearray(partial.read_bytes())
        data[100] ^= 1
        partial.write_bytes(data)

    monkeypatch.setattr("audio_lightning.classifier.checkpoint.os.fsync", unreliable)
    with pytest.raises(OSError, match=r"the file differs when read back .*last\.ckpt"):
        write_checkpoint(path, {"epoch": 2}, previous=tmp_path / "previous.ckpt")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("kept", [torch.zeros(1).expand(3), torch.eye(2).to_sparse(), {"path": Path("a")}])
def test_unreadable_content_is_not_written(tmp_path: Path, kept: Any) -> None:
    """The error is raised after the first epoch, not at the end of the training or when it is resumed."""
    path = tmp_path / "best.ckpt"
    write_checkpoint(path, {"epoch": 1})
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"best\.ckpt is not written, as it could not be read: it "):
        write_checkpoint(path, {"state_dict": {"kept": kept}})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.ckpt"]


@pytest.mark.parametrize("room", [100, 5_000, 40_000])
def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path, room: int) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, {"epoch": 1})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*last\.ckpt"):
            write_checkpoint(path, {"weights": [torch.ones(3000) for _ in range(4)]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
