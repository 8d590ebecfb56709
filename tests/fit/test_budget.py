"""Time budget and clock of a fit."""

import subprocess
import sys
from pathlib import Path

import pytest

from audio_lightning.fit.budget import (
    FEW_STEPS,
    LEAST_STEPS,
    MOST_EPOCHS,
    MOST_STEPS,
    WANTED_EPOCHS,
    WANTED_STEPS,
    Workers,
    allocate,
    extra_candidate,
    more_folds,
    reserve,
)
from audio_lightning.fit.clock import Clock

TWO = Workers(2, alone=1.75)

STEPS = {"both": 0.5, "logmel": 0.25, "pcen": 0.3, "quick": 0.05}


def cost(seconds: float, **options: int) -> float:
    """Seconds that an allocation takes, at most."""
    found = allocate(seconds, STEPS, 40, workers=TWO, folds=8, members=3, **options)
    times = [STEPS[name] for name in found.candidates]
    slowest = sorted(times, reverse=True)[: found.survivors]
    return found.steps * (found.at_once * sum(times) + (found.folds - found.at_once) * sum(slowest)) / 2


@pytest.mark.parametrize("seconds", [60, 300, 1200, 3600, 36_000])
def test_it_fits_into_the_budget(seconds: float) -> None:
    assert cost(seconds) <= seconds


def test_more_time_never_gives_less() -> None:
    found = [allocate(seconds, STEPS, 40, workers=TWO, folds=8, members=3) for seconds in range(60, 20_000, 60)]
    strong = [one for one in found if "both" in one.candidates]
    assert found[-len(strong) :] == strong
    tested = [one.folds for one in strong]
    assert tested == sorted(tested)
    assert (tested[0], tested[-1]) == (1, 8)
    assert len(found[-1].candidates) == 4
    assert found[-1].survivors == 3


def test_little_time_gives_one_training_and_none_the_quickest_candidate() -> None:
    short = allocate(150, STEPS, 40, workers=TWO, folds=8, members=3)
    assert (short.candidates, short.folds, short.survivors) == (("both",), 1, 1)
    assert LEAST_STEPS <= short.steps < WANTED_STEPS
    shorter = allocate(60, STEPS, 40, workers=TWO, folds=8, members=3)
    assert (shorter.candidates, shorter.folds) == (("quick",), 2)
    assert shorter.steps >= FEW_STEPS
    none = allocate(1, STEPS, 40, workers=TWO, folds=8, members=3)
    assert (none.candidates, none.folds, none.steps) == (("quick",), 1, 1)


def test_trainings_have_a_maximum_length() -> None:
    assert allocate(1e6, STEPS, 40, workers=TWO, folds=8, members=3).steps == MOST_STEPS


@pytest.mark.parametrize("folds", [1, 3, 5, 10])
def test_tested_folds_do_not_exceed_the_folds(folds: int) -> None:
    assert allocate(1e6, STEPS, 40, workers=TWO, folds=folds, members=3).folds == folds


def test_small_data_sets_are_limited_by_epochs() -> None:
    few = allocate(500, STEPS, 10, workers=TWO, folds=8, members=3)
    many = allocate(500, STEPS, 100, workers=TWO, folds=8, members=3)
    assert few.steps >= 10 * WANTED_EPOCHS
    assert len(few.candidates) > len(many.candidates)
    assert allocate(1e6, STEPS, 10, workers=TWO, folds=8, members=3).steps == 10 * MOST_EPOCHS


def test_a_single_candidate_trains_folds_in_parallel() -> None:
    found = allocate(350, {"both": 0.5}, 40, workers=TWO, folds=8, members=3)
    assert (found.folds, found.at_once) == (2, 2)
    assert allocate(6000, STEPS, 40, workers=TWO, folds=8, members=3).at_once == 1


def test_one_member_needs_one_survivor() -> None:
    assert allocate(1e6, STEPS, 40, workers=TWO, folds=5, members=1).survivors == 1


def test_a_single_candidate_is_allowed() -> None:
    found = allocate(6000, {"both": 0.5}, 40, workers=TWO, folds=8, members=3)
    assert (found.candidates, found.survivors) == (("both",), 1)
    assert found.folds >= 3


@pytest.mark.parametrize("budget", [60, 600, 7200])
def test_time_is_reserved_for_selection(budget: float) -> None:
    assert 8 <= reserve(budget) <= budget / 5


def test_a_clock_resumes_after_a_kill(tmp_path: Path) -> None:
    with Clock(tmp_path / "clock.json") as clock:
        pass
    assert 0 <= clock.spent < 5
    (tmp_path / "clock.json").write_text('{"spent_seconds": 100.5}')
    assert 100.5 <= Clock(tmp_path / "clock.json").spent < 101.5
    assert 107.5 <= Clock(tmp_path / "clock.json", running=7).spent < 108.5


def test_time_counts_from_the_start_of_the_process() -> None:
    code = (
        "import time; time.sleep(0.3); from audio_lightning.fit.clock import seconds_running; print(seconds_running())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0.3


def test_workers_share_threads() -> None:
    assert [Workers(4, alone=2.5).gain(trainings) for trainings in (1, 2, 4, 8)] == [2.5, 1.5, 1, 1]
    assert Workers(1).gain(1) == 1


def test_remaining_time_adds_folds() -> None:
    assert more_folds(60, [100], 6, workers=TWO) == 0
    assert more_folds(64, [100], 6, workers=TWO) == 1  # alone, with the threads of both
    assert more_folds(111, [100], 6, workers=TWO) == 2
    assert more_folds(111, [100, 100], 6, workers=TWO) == 1
    assert more_folds(1e6, [100, 100], 6, workers=TWO) == 6


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(40, None), (100, ("quick", 900)), (400, ("logmel", 900)), (10_000, ("both", 4000))],
)
def test_remaining_time_adds_a_candidate(seconds: float, expected: tuple[str, int] | None) -> None:
    found = extra_candidate(seconds, STEPS, 40, 4000, 2, workers=TWO)
    if expected is None:
        assert found is None
        return
    assert found is not None
    name, steps = found
    assert name == expected[0]
    assert expected[1] <= steps <= 4000
    assert steps * STEPS[name] < seconds
    assert extra_candidate(seconds, {}, 40, 4000, 2, workers=TWO) is None


def test_a_round_takes_the_time_of_its_waves() -> None:
    assert TWO.round_seconds([10, 10, 10]) == 20
    assert TWO.round_seconds([30, 1, 1]) == 30
    assert TWO.round_seconds([10]) == pytest.approx(10 / 1.75)
    assert TWO.round_seconds([]) == 0


@pytest.mark.parametrize(
    "text", ["", "[]", '{"spent_seconds": NaN}', '{"spent_seconds": "x"}', '{"spent_seconds": -1}']
)
def test_a_damaged_clock_restarts(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock.json").write_text(text)
    assert Clock(tmp_path / "clock.json").spent < 5
