"""Generated recordings: reproducible, complete or absent, and varied."""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_lightning.core.errors import DataError
from audio_lightning.data.sources.demo import sounds as demo_sounds
from audio_lightning.data.sources.demo.sounds import CLASSES, COLUMNS, write_demo


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources per class and fold, two clips per source. Read only."""
    folder = tmp_path_factory.mktemp("sounds") / "demo"
    write_demo(folder, sources_per_fold=2, clips_per_source=2)
    return folder


def table(root: Path) -> list[dict[str, str]]:
    with (root / "metadata/UrbanSound8K.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == COLUMNS
        return list(reader)


def clip(root: Path, row: dict[str, str]) -> Path:
    return root / f"audio/fold{row['fold']}" / row["slice_file_name"]


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_layout(root: Path) -> None:
    rows = table(root)
    assert len(rows) == 5 * 10 * 2 * 2
    assert {clip(root, row) for row in rows} == set((root / "audio").rglob("*.wav"))
    assert Counter((row["fold"], row["class"]) for row in rows) == {
        (str(fold), name): 4 for fold in range(1, 6) for name in CLASSES
    }
    assert all(CLASSES[int(row["classID"])] == row["class"] for row in rows)
    assert all(row["slice_file_name"].startswith(f"{row['fsID']}-{row['classID']}-") for row in rows)


def test_a_source_is_in_one_fold_and_of_one_class(root: Path) -> None:
    places = defaultdict(set)
    for row in table(root):
        places[row["fsID"]].add((row["fold"], row["class"]))
    assert len(places) == 5 * 10 * 2
    assert all(len(found) == 1 for found in places.values())


def test_recordings_are_sound_and_varied(root: Path) -> None:
    infos, lengths, levels = Counter(), [], []
    for row in table(root):
        info = soundfile.info(clip(root, row))
        samples = soundfile.read(clip(root, row))[0]
        infos.update([("rate", info.samplerate), ("channels", info.channels), ("depth", info.subtype)])
        lengths.append(info.duration)
        peak = np.abs(samples).max()
        levels.append(20 * np.log10(peak))
        assert np.isfinite(samples).all()
        assert peak < 1.0
        assert info.duration == pytest.approx(float(row["end"]) - float(row["start"]), abs=1e-3)
    assert len({value for kind, value in infos if kind == "rate"}) >= 3
    assert {value for kind, value in infos if kind == "channels"} == {1, 2}
    assert {value for kind, value in infos if kind == "depth"} == {"PCM_16", "PCM_24"}
    assert min(lengths) >= 0.299
    assert max(lengths) <= 4.001
    assert min(lengths) < 1.5
    assert max(levels) - min(levels) > 20


def test_no_two_recordings_are_equal(root: Path) -> None:
    assert len(set(contents(root / "audio").values())) == 200


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    sizes = {"sources_per_fold": 1, "clips_per_source": 1}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_demo(tmp_path / name, seed=seed, **sizes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not set(contents(tmp_path / "a/audio").values()) & set(contents(tmp_path / "c/audio").values())


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = soundfile.write, []

    def interrupted(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) > 5:
            raise KeyboardInterrupt
        write(*args, **options)

    monkeypatch.setattr(demo_sounds.soundfile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", sources_per_fold=1, clips_per_source=1)
    assert not list(tmp_path.iterdir())


def test_existing_files_are_not_changed(root: Path, tmp_path: Path) -> None:
    before = contents(root)
    write_demo(root, seed=5)
    assert contents(root) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/song.wav").touch()
    with pytest.raises(DataError, match="expected the demo data or nothing"):
        write_demo(tmp_path / "mine")


def test_the_later_of_two_writers_drops_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all = demo_sounds._write_all
    sizes = {"sources_per_fold": 1, "clips_per_source": 1}

    def overtaken(draft: Path, *args: object) -> None:
        monkeypatch.setattr(demo_sounds, "_write_all", write_all)
        write_demo(tmp_path / "demo", seed=3, **sizes)
        write_all(draft, *args)

    monkeypatch.setattr(demo_sounds, "_write_all", overtaken)
    write_demo(tmp_path / "demo", seed=0, **sizes)
    write_demo(tmp_path / "expected", seed=3, **sizes)
    assert contents(tmp_path / "demo") == contents(tmp_path / "expected")
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "expected"}
