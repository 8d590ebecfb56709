"""Embeddings are computed once per machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audio_lightning.data.loading.clips import Clips
from audio_lightning.data.store import embeddings
from audio_lightning.data.store.cache import Cache
from audio_lightning.data.store.embeddings import clear, clip_keys, embedded, kept

VALUES = 3


class Network:
    """Network whose embeddings are the first bytes of the keys; counts its calls."""

    def __init__(self, keys: np.ndarray, *, dies_at: int | None = None) -> None:
        self.keys, self.asked, self.dies_at = keys, 0, dies_at

    def __call__(self, new: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(new), 2):
            some = new[start : start + 2]
            if self.dies_at is not None and self.asked >= self.dies_at:
                raise KeyboardInterrupt
            self.asked += len(some)
            yield self.keys[some, :VALUES].astype(np.float32)


def keys(*numbers: int) -> np.ndarray:
    return np.array([np.random.default_rng(number).bytes(16) for number in numbers]).view(np.uint8).reshape(-1, 16)


def embed(network: Network, cache: Cache, name: str = "net") -> np.ndarray:
    return embedded(network.keys, VALUES, network, cache, name)


def test_only_new_clips_are_embedded(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for numbers, asked in [((1, 2, 3), 3), ((3, 1, 2), 1), ((4, 2, 5, 3), 3), ((5, 4), 1)]:
        network = Network(keys(*numbers))
        found = embed(network, cache)
        assert np.array_equal(found, network.keys[:, :VALUES])
        assert network.asked == asked  # including the check of a known one
    other = Network(keys(1))
    embed(other, cache, "other")
    assert other.asked == 1
    assert [file.stem for file in kept(cache)] == ["net", "other"]
    assert clear(cache) > 0
    assert kept(cache) == []


def test_embeddings_of_another_program_are_recomputed(tmp_path: Path) -> None:
    before, now = Network(keys(1, 2, 3)), Network(keys(1, 2, 3))
    embed(before, Cache(tmp_path))
    now.keys = keys(4, 5, 6)  # other values for the same clips
    for asked in (1 + 3, 1):
        now.asked = 0
        found = embedded(keys(1, 2, 3), VALUES, now, Cache(tmp_path), "net")
        assert np.array_equal(found, now.keys[:, :VALUES])
        assert now.asked == asked


def test_a_kill_loses_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "CLIPS_AT_ONCE", 2)
    numbers = keys(*range(8))
    with pytest.raises(KeyboardInterrupt):
        embed(Network(numbers, dies_at=4), Cache(tmp_path))
    after = Network(numbers)
    assert np.array_equal(embed(after, Cache(tmp_path)), numbers[:, :VALUES])
    assert after.asked == 4 + 1


def test_oldest_embeddings_are_dropped_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MOST_BYTES", 2 * (16 + 4 * VALUES))
    embed(Network(keys(1, 2, 3)), Cache(tmp_path))
    again = Network(keys(1, 2, 3))
    embed(again, Cache(tmp_path))
    assert again.asked == 1 + 1


def test_least_recently_used_networks_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    for age, name in enumerate(["first", "second", "third"]):
        embed(Network(keys(1, 2, 3)), cache, name)
        os.utime(tmp_path / embeddings.FOLDER / f"{name}.npy", (age, age))
    embed(Network(keys(1, 2)), cache, "first")  # used again
    size = kept(cache)[0].stat().st_size
    monkeypatch.setattr(embeddings, "MOST_BYTES_OF_ALL", 3 * size)
    embed(Network(keys(1, 2, 3)), cache, "fourth")
    assert [file.stem for file in kept(cache)] == ["first", "fourth", "third"]
    monkeypatch.setattr(embeddings, "MOST_BYTES_OF_ALL", 1)
    assert embed(Network(keys(1)), cache, "third")[0, 0] == keys(1)[0, 0]
    assert [file.stem for file in kept(cache)] == ["third"]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_file_is_rebuilt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings/net.npy").write_bytes(content)
    network = Network(keys(1, 2))
    assert np.array_equal(embed(network, Cache(tmp_path)), network.keys[:, :VALUES])
    again = Network(keys(1, 2))
    embed(again, Cache(tmp_path))
    assert again.asked == 1


def test_unwritable_cache_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        network = Network(keys(1, 2, 3))
        assert np.array_equal(embed(network, Cache(tmp_path / "file")), network.keys[:, :VALUES])
        assert network.asked == 3


def test_clip_is_recognized_by_content_and_position() -> None:
    def of(**changed: int) -> bytes:
        values = {"row": 0, "start": 0, "length": 100, "offset": 50} | changed
        clips = Clips(*(np.array([values[name]]) for name in ("row", "start", "length", "offset")), np.array([False]))
        return clip_keys(clips, np.array([[1, 2], [3, 4], [1, 2]], np.uint8))[0].tobytes()

    assert of() == of(row=2) == of(start=7)
    assert len({of(), of(row=1), of(length=99), of(offset=49)}) == 4
