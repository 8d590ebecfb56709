"""The audit finds all problems of a data set by name, and nothing else."""

import csv
import errno
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from omegaconf import OmegaConf
from recordings import DAMAGED

from audio_lightning.audio import Finder, ffmpeg
from audio_lightning.config import build, compose
from audio_lightning.data.audit import (
    KINDS,
    MOST_NAMED,
    SEVERITIES,
    Finding,
    audit,
    printable,
)
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.opening import Opened, examine
from audio_lightning.data.problems import join_equal
from audio_lightning.data.splitting.few_clips import FEWEST_A_CLASS

FIRST = "audio/fold1/1000-0-0-0.wav"
"""A recording of a high tone; ``NOISE`` is a recording of noise in the same fold."""
NOISE = "audio/fold1/1200-2-0-0.wav"
TABLE = "metadata/UrbanSound8K.csv"


@functools.cache
def settings(*overrides: str) -> dict[str, Any]:
    """Composing takes longer than the tests, and only the root differs."""
    lines = ["data=urbansound8k", "data.root=.", "data.sample_rate=8000", "data.clip_seconds=0.25", *overrides]
    return OmegaConf.to_container(compose(lines).data, resolve=True)


def examined(root: Path, *overrides: str) -> tuple[AudioDataModule, Opened]:
    ready = build({**settings(*overrides), "root": str(root)}, AudioDataModule, where="data")
    return ready, examine(ready)


def found(root: Path, *overrides: str) -> list[Finding]:
    return audit(*examined(root, *overrides))


def change_rows(root: Path, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    """Replace or drop every row of the table; recordings without a row are deleted."""
    with (root / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    changed = [new for row in rows if (new := change(dict(row)))]
    with (root / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(changed)
    kept = {row["slice_file_name"] for row in changed}
    for path in root.glob("audio/*/*.wav"):
        if path.name not in kept:
            path.unlink()


def write(path: Path, samples: np.ndarray, rate: int = tiny.RATE) -> None:
    soundfile.write(path, samples, rate, subtype="FLOAT")


def damage(path: Path, name: str) -> None:
    path.unlink()
    DAMAGED[name](path)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-0.5, 0.5, samples).astype(np.float32)


def full_scale(samples: int, times: int) -> np.ndarray:
    sound = noise(samples)
    sound[:times] = -1.0
    return sound


def plant_table(root: Path) -> str:
    with (root / TABLE).open("a") as file:
        file.write("new.wav,1,0,1,1,one,0,high_tone\n")
    return "UrbanSound8K.csv, line 38"


def plant_missing(root: Path) -> str:
    (root / FIRST).unlink()
    return FIRST


def plant_unlisted(root: Path) -> str:
    (root / "audio/fold1/deeper").mkdir()
    (root / "elsewhere").mkdir()
    for name in ("audio/fold1/deeper/new.WAV", "audio/fold1/._new.wav", "elsewhere/new.wav"):
        soundfile.write(root / name, noise(2000), tiny.RATE, format="WAV")
    (root / "audio/fold1/notes.txt").touch()
    return "audio/fold1/deeper/new.WAV"


def plant_undecodable(root: Path) -> str:
    (root / FIRST).write_bytes(b"\x00\x00\x00\x18ftypM4A " + bytes(500))
    return FIRST


def plant_damaged(name: str) -> Callable[[Path], str]:
    def plant(root: Path) -> str:
        damage(root / FIRST, name)
        return FIRST

    return plant


def plant_sound(samples: np.ndarray, rate: int = tiny.RATE) -> Callable[[Path], str]:
    def plant(root: Path) -> str:
        write(root / FIRST, samples, rate)
        return FIRST

    return plant


def plant_duplicate(root: Path) -> str:
    (root / NOISE).write_bytes((root / FIRST).read_bytes())
    return FIRST


def plant_few_clips(root: Path) -> str:
    change_rows(root, lambda row: None if (row["class"], row["fold"]) == ("noise", "4") else row)
    return "class noise"


def plant_line_break(root: Path) -> str:
    change_rows(root, lambda row: {**row, "class": row["class"].replace("noise", "white\nnoise")})
    return "classes"


def plant_splits(root: Path) -> str:
    def renumbered(row: dict[str, str]) -> dict[str, str]:
        fold = min(2, int(row["fold"]))
        os.renames(
            root / f"audio/fold{row['fold']}/{row['slice_file_name']}",
            root / f"audio/fold{fold}/{row['slice_file_name']}",
        )
        return {**row, "fold": str(fold)}

    change_rows(root, renumbered)
    return "splits"


def plant_leak(root: Path) -> str:
    change_rows(root, lambda row: {**row, "fsID": "7"} if row["slice_file_name"][:4] in ("1000", "4000") else row)
    return "splits"


def plant_long(root: Path) -> str:
    write(root / FIRST, noise(40 * 2000))
    return f"1 of {len(list(root.glob('audio/*/*.wav')))} recordings"


PLANTS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "a wrong row": ("table", plant_table),
    "a missing file": ("missing", plant_missing),
    "a file more": ("unlisted", plant_unlisted),
    "no ffmpeg": ("undecodable", plant_undecodable),
    "a truncated file": ("unreadable", plant_damaged("truncated.wav")),
    "NaN": ("not_finite", plant_damaged("nan.wav")),
    "no bytes": ("empty", plant_damaged("empty.wav")),
    "a header only": ("empty", plant_damaged("header_only.wav")),
    "silence": ("silent", plant_sound(np.full(2000, 5e-5))),
    "channels that cancel": ("cancelling", plant_sound(np.stack([noise(2000), -noise(2000)], axis=1))),
    "channels that nearly cancel": ("cancelling", plant_sound(np.stack([noise(2000), -0.9 * noise(2000)], axis=1))),
    "full scale": ("clipped", plant_sound(full_scale(2000, 3))),
    "another rate": ("odd_rate", plant_sound(noise(2000), rate=16000)),
    "a short one": ("short", plant_sound(noise(199))),
    "a long one": ("left_out", plant_long),
    "a copy": ("duplicate", plant_duplicate),
    "a rare class": ("few_clips", plant_few_clips),
    "a line break in a name": ("classes", plant_line_break),
    "too few folds": ("splits", plant_splits),
    "a divided source": ("leak", plant_leak),
}


def test_a_clean_set_has_no_findings(tiny_urbansound8k: Path) -> None:
    assert found(tiny_urbansound8k) == []


def test_every_kind_is_planted() -> None:
    assert {kind for kind, _ in PLANTS.values()} == set(KINDS)


@pytest.mark.parametrize("name", PLANTS)
def test_planted_problems_are_found_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "executable", lambda: None)
    root = tiny.write_urbansound8k(tmp_path)
    kind, plant = PLANTS[name]
    where = plant(root)
    findings = found(root)
    assert [(finding.kind, finding.where) for finding in findings] == [(kind, where)]
    assert str(root) not in findings[0].what or kind == "missing"


@pytest.mark.parametrize(
    "samples", [full_scale(2000, 2), noise(200), np.full(2000, 2e-4, np.float32)], ids=["loud", "short", "quiet"]
)
def test_values_at_the_limit_are_no_findings(samples: np.ndarray, tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    write(root / FIRST, samples)
    assert found(root) == []


def test_windows_leave_nothing_out(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    plant_long(root)
    assert found(root, "data.hop_seconds=0.25") == []


def test_omitted_silence_is_no_finding(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    write(root / FIRST, np.concatenate([noise(2000), np.zeros(40 * 2000)]))
    assert found(root) == []


def test_without_a_usual_rate_none_is_odd(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    for fold in (1, 2):
        for path in root.glob(f"audio/fold{fold}/*.wav"):
            write(path, np.repeat(soundfile.read(path)[0], 2), rate=16000)
    assert found(root) == []


def test_all_findings_are_listed_by_severity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    plant_leak(root)  # before the table has invalid rows
    plant_line_break(root)
    plant_table(root)
    plant_unlisted(root)
    places = sorted(str(path.relative_to(root)) for path in root.glob("audio/fold[23]/*.wav"))
    (root / places[0]).unlink()
    for place, name in zip(places[1:], ("truncated.wav", "nan.wav", "empty.wav")):
        damage(root / place, name)
    write(root / places[4], np.zeros(2000))
    write(root / places[5], full_scale(2000, 2000))
    write(root / places[6], noise(100))
    write(root / places[7], noise(4000), rate=16000)
    (root / places[9]).write_bytes((root / places[8]).read_bytes())
    (root / places[10]).write_bytes(b"\x00\x00\x00\x18ftypM4A " + bytes(500))
    write(root / places[11], np.stack([noise(2000), -noise(2000)], axis=1))
    monkeypatch.setattr(ffmpeg, "executable", lambda: None)
    findings = found(root)
    assert [finding.kind for finding in findings] == [
        kind for kind in KINDS if kind not in ("few_clips", "left_out", "splits")
    ]
    assert [severity for severity, _ in groupby(finding.severity for finding in findings)] == list(SEVERITIES)


def test_equal_findings_are_joined() -> None:
    findings = [Finding("silent", where, what) for where, what in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"))]
    joined = join_equal(findings)
    assert [(same.what, same.where) for same in joined] == [("x", ["a", "c", "d"]), ("y", ["b"])]
    assert [joined[0].places(most) for most in (1, 2, 3)] == ["a and 2 more", "a, c and 1 more", "a, c, d"]


def test_copies_are_one_finding_that_names_them(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path, clips=MOST_NAMED + 3)
    high = sorted(path.relative_to(root).as_posix() for path in root.glob("audio/fold1/*-0-0-*.wav"))
    for name in high[1:]:
        (root / name).write_bytes((root / high[0]).read_bytes())
    (finding,) = found(root)
    assert (finding.kind, finding.where) == ("duplicate", high[0])
    assert finding.what == f"has the same samples as {', '.join(high[1 : 1 + MOST_NAMED])} and 2 more"


def test_copies_with_several_labels_contradict(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    plant_duplicate(root)
    (finding,) = found(root)
    assert finding.what == f"has the same samples as {NOISE}; the labels differ: high_tone and noise"


def test_silence_may_recur(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    for name in (FIRST, NOISE):
        write(root / name, np.zeros(2000))
    assert [finding.kind for finding in found(root)] == ["silent", "silent"]


def test_the_same_sound_in_two_splits_leaks(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    other = "audio/fold4/4000-0-0-0.wav"
    (root / other).write_bytes((root / FIRST).read_bytes())
    leak, copy = found(root)
    assert (copy.kind, leak.kind) == ("duplicate", "leak")
    assert FIRST in leak.what
    assert other in leak.what


def test_a_short_part_of_a_long_recording_is_short(tiny_urbansound8k: Path) -> None:
    ready, examination = examined(tiny_urbansound8k)
    table = examination.manifest.table.copy()
    table.loc[4, ["start_seconds", "stop_seconds"]] = (0.1, 0.12)
    (finding,) = audit(ready, replace(examination, manifest=examination.manifest.with_table(table)))
    assert (finding.kind, finding.where) == ("short", f"{table['path'][4]}, from 0.1 s on")
    assert finding.what == "lasts 0.020 s, less than 10% of a clip of 0.25 s"


def test_rare_class_states_missing_clips(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path)
    plant_few_clips(root)
    (finding,) = found(root)
    assert finding.what == f"has 9 clips, expected at least {FEWEST_A_CLASS}; has no clip in test"
    assert [finding.what for finding in found(root, "data.split=all")] == [
        f"has 9 clips, expected at least {FEWEST_A_CLASS}"
    ]


def test_recordings_beside_those_in_the_root_are_unlisted(tmp_path: Path) -> None:
    """If recordings are in the root itself, everything below is searched, once."""
    ready, examination = examined(tiny.write_urbansound8k(tmp_path))
    table = examination.manifest.table
    listed = table.assign(path=table["path"].replace(FIRST, "top.wav").replace(NOISE, "/nowhere/x.wav"))
    manifest = examination.manifest.with_table(listed)
    unlisted = [finding.where for finding in audit(ready, replace(examination, manifest=manifest))]
    assert unlisted == [FIRST, NOISE]


def test_ignored_recordings_are_not_unlisted(tmp_path: Path) -> None:
    root = tiny.write_folder(tmp_path)
    first = min(root.rglob("*.wav"))
    first.rename(first.with_name("old.wav"))
    options = [f"data.root={root}", "data.sample_rate=8000", "data.clip_seconds=0.25", "data.ignore=['old*']"]
    ready = build(compose(["data=folder", *options]).data, AudioDataModule, where="data")
    assert [finding for finding in audit(ready, examine(ready)) if finding.kind == "unlisted"] == []


def test_a_folder_that_cannot_be_read_stops_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, examination = examined(tiny.write_urbansound8k(tmp_path))

    def refuse(finder: Finder, below: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", f"{finder.root}/{below}private")

    monkeypatch.setattr(Finder, "recordings", refuse)
    findings = audit(ready, examination)
    assert {finding.kind for finding in findings} == {"unlisted"}
    assert findings[0].what.startswith("cannot be read (Permission denied)")


def test_names_are_made_printable() -> None:
    assert printable("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
    assert printable("Tür <1> [x]") == "Tür <1> [x]"
