"""Hostile and random inputs: each is read, or rejected by a UserError of one line.

No input may take more than five seconds or a gigabyte, execute anything, or touch files outside of its folder. Inputs
that failed in the past are kept as examples and run first.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guard import SECRET, Guard, Tally, Usage, check_end, in_child
from hypothesis import HealthCheck, Phase, example, given, settings
from inputs import TABLE_KEYS, Kind, kinds

from audio_lightning.cli.main import app

NAMES = ("recording", "table", "command line", "grid", "YAML", "checkpoint", "ensemble", "run folder", "sweep folder")

FAST = dict(zip(NAMES, (90, 40, 40, 20, 20, 20, 20, 30, 20)))
"""Inputs of each kind in the fast suite: 300."""

FULL = dict(zip(NAMES, (3000, 1300, 1300, 600, 700, 800, 600, 900, 800)))
"""Inputs of each kind in all: 10,000."""

KEPT: dict[str, list[Any]] = {
    "recording": [("h.caf", ([(0.5, b"\x00", True)], 1.0))],
    "command line": [
        ["seed=${oc.env:AL_TYPED}"],
        ["trainer.max_epochs=[("],
        ["hydra.searchpath=['~nobody_at_all/x']"],
        ["hydra.searchpath=[${oc.env:NOT_THERE}]"],
        ["trust=" + "x" * 300],
        ["seed=\n"],
        ["9" * 5_000],
        ["seed=" + "9" * 5_000],
    ],
    "YAML": [([], ([(0.0, b"\x00", False)], 1.0)), (["{seed: !!binary aaaa}"], ([], 1.0))],
    "run folder": [(("place", "history.csv", "missing"), []), (("place", "config.yaml", "pipe"), [])],
    "sweep folder": [("place", "status.json", "link")],
}
"""Inputs that once failed, tried before the others."""

EVERY_COMMAND = 25
"""Inputs of each of nine kinds that go through the command line: 225."""


def command(name: str, trained: Path, folder: Path, made: Any) -> list[str]:
    """Arguments of ``audio-lightning`` for an input."""
    line = {
        "recording": ["predict", trained, made],
        "table": ["check", "data=table", "data.root=.", f"data.table=clips{folder.suffix}", *TABLE_KEYS],
        "command line": ["train", "--cfg", "job"],
        "grid": ["train", "--cfg", "job"],
        "YAML": ["train", "--cfg", "job", "data.table=trials.yaml", "data=table"],
        "checkpoint": ["predict", made, trained / "nothing.wav"],
        "ensemble": ["predict", made, trained / "nothing.wav"],
        "run folder": ["train", "resume=run"],
        "sweep folder": ["leaderboard", "sweep"],
    }[name]
    if name == "table":
        line[3] = f"data.table={next(path.name for path in folder.glob('clips*'))}"
    return [*map(str, line), *(made if isinstance(made, list) else [])]


@pytest.fixture(scope="module")
def every(trained: Path) -> dict[str, Kind]:
    return kinds(trained)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AL_SECRET", SECRET)
        patch.setenv("AL_TYPED", "many")
        yield Guard(Path(os.path.realpath(tmp_path_factory.mktemp("inputs"))))


def _examples(count: int) -> settings:
    """The same ones each time, with nothing kept; a failing one is shrunk."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )


def feed(guard: Guard, name: str, kind: Kind, count: int) -> None:
    """Judge generated inputs of a kind."""

    @_examples(count)
    @given(kind.strategy)
    def one(made: Any) -> None:
        guard.judge(name, kind.passes(made), lambda folder: kind.make(folder, made), kind.act)

    for made in KEPT.get(name, []):
        one = example(made)(one)
    one()


def test_a_sample_of_hostile_inputs(guard: Guard, every: dict[str, Kind]) -> None:
    guard.tally = Tally()
    for name in NAMES:
        feed(guard, name, every[name], FAST[name])
    assert guard.tally.total("inputs") >= 250  # of few kinds there are fewer than that different ones
    assert guard.tally.total("passed") >= guard.tally.total("inputs") / 2


@pytest.mark.full
def test_ten_thousand_hostile_inputs(guard: Guard, every: dict[str, Kind], capsys: pytest.CaptureFixture[str]) -> None:
    guard.tally = Tally()
    for name in NAMES:
        feed(guard, name, every[name], FULL[name])
    with capsys.disabled():
        print(f"\n{guard.tally}")
    assert guard.tally.total("inputs") >= 10_000
    assert not {kind: share for kind, share in guard.tally.shares().items() if share < 0.5}


@pytest.mark.full
def test_two_hundred_hostile_inputs_through_the_command_line(
    tmp_path: Path, guard: Guard, trained: Path, every: dict[str, Kind], capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally()
    for name in NAMES:
        _through_the_command_line(tmp_path, trained, name, every[name], tally)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.total("inputs") >= EVERY_COMMAND * len(NAMES)


def _through_the_command_line(root: Path, trained: Path, name: str, kind: Kind, tally: Tally) -> None:
    @_examples(EVERY_COMMAND)
    @given(kind.strategy)
    def one(made: Any) -> None:
        with tempfile.TemporaryDirectory(dir=root) as place:
            folder = Path(place)
            given_to = kind.make(folder, made)
            started = time.perf_counter()
            code, errors = in_child(folder, lambda: app(command(name, trained, folder, given_to)))
            usage = Usage(time.perf_counter() - started)
            check_end(code, errors)
        tally.add(name, usage, read=code == 0, passed=kind.passes(made))

    one()
