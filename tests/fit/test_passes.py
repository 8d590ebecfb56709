"""Further passes of a fit with a larger budget."""

from typing import Any

import pytest

from audio_lightning.fit.budget import MOST_STEPS, Allocation, Workers, aside_seconds
from audio_lightning.fit.passes import (
    folds_tested,
    further_pass,
    next_edition,
    pass_name,
    plan_pass,
    preferred,
    tried_names,
)
from audio_lightning.fit.state import FitState, Pass

TWO = Workers(2, alone=1.75)
STEPS = {"both": 0.5, "logmel": 0.25, "pcen": 0.3, "quick": 0.05}


def a_pass(
    *candidates: str, survivors: list[str], folds: int = 5, steps: int = 800, finish: tuple[str, ...] = ()
) -> Pass:
    allocation = Allocation(candidates, len(survivors), folds, steps)
    return Pass(600, allocation, list(finish), survivors=survivors, done=True)


def further(seconds: float, *passes: Pass, **options: Any) -> Pass | None:
    known = {"workers": TWO, "folds": 8, "members": 3, **options}
    return further_pass(seconds + 600, seconds, STEPS, 40, passes, dict.fromkeys(tried_names(passes), 60.0), **known)


def test_candidates_of_later_passes_have_names_of_their_own() -> None:
    passes = [a_pass("both", "quick", survivors=["both"]), a_pass("both", survivors=["both (2)"])]
    assert tried_names(passes) == {"both": ("both", 0), "quick": ("quick", 0), "both (2)": ("both", 1)}
    assert pass_name("both", 2) == "both (3)"


def test_survivors_come_first_and_losers_last() -> None:
    passes = [a_pass("both", "logmel", "quick", survivors=["logmel"])]
    assert preferred(STEPS, passes) == ["logmel", "pcen", "both", "quick"]


def test_a_further_pass_trains_longer_on_the_folds_that_were_tested() -> None:
    found = further(3000, a_pass("both", "quick", survivors=["both"]))
    assert found is not None
    assert found.allocation.steps >= 1600
    assert found.allocation.folds >= 5
    assert "both" in found.allocation.candidates
    assert found.budget == 3600


@pytest.mark.parametrize("seconds", [0, 60, 300, 500])
def test_too_little_time_adds_nothing(seconds: float) -> None:
    assert further(seconds, a_pass("both", "quick", survivors=["both"])) is None


@pytest.mark.parametrize("seconds", range(0, 40_000, 1000))
def test_it_never_trains_shorter_and_fits_into_the_time(seconds: float) -> None:
    before = a_pass("both", "quick", survivors=["both"])
    if found := further(seconds, before):
        chosen = found.allocation
        assert min(MOST_STEPS, 800) <= chosen.steps <= MOST_STEPS
        slowest = sorted((STEPS[name] for name in chosen.candidates), reverse=True)[: chosen.survivors]
        own = chosen.steps * (sum(STEPS[name] for name in chosen.candidates) + (chosen.folds - 1) * sum(slowest))
        assert (own + 60 * len(found.finish) * (chosen.folds - 5)) / 2 <= seconds


def test_trainings_of_maximum_length_are_repeated_with_another_seed() -> None:
    found = further(100_000, a_pass("both", survivors=["both"], folds=8, steps=MOST_STEPS))
    assert found is not None
    assert found.allocation.steps == MOST_STEPS


def test_earlier_candidates_are_tested_on_the_new_folds_where_that_is_cheap() -> None:
    before = a_pass("both", "quick", survivors=["both", "quick"], folds=3)
    cheap = further(30_000, before)
    assert cheap is not None
    assert (cheap.allocation.folds, cheap.finish) == (8, ["both", "quick"])
    assert folds_tested([before, cheap]) == {"both": 8, "quick": 8}
    dear = further_pass(30_600, 30_000, STEPS, 40, [before], {"both": 9000.0}, workers=TWO, folds=8, members=3)
    assert dear is not None
    assert (dear.allocation.folds, dear.finish) == (8, [])


def work(chosen: Allocation) -> float:
    """Seconds of one worker that all folds of the first candidate take."""
    return chosen.folds * chosen.steps * STEPS[chosen.candidates[0]]


def test_time_is_reserved_for_a_refit() -> None:
    def planned(*, refit: bool) -> Pass:
        found = plan_pass(1200, 1000, STEPS, 40, [], {}, workers=TWO, folds=8, members=3, refit=refit)
        assert found is not None
        return found

    without, with_refit = planned(refit=False), planned(refit=True)
    assert without.kept == 0
    chosen = with_refit.allocation
    again = chosen.steps * STEPS[chosen.candidates[0]] * 8 / 6
    assert with_refit.kept >= again / 2
    assert work(chosen) < work(without.allocation)


def test_on_new_recordings_losers_are_known() -> None:
    one = a_pass("both", "quick", "pcen", survivors=["both"])
    one.stopped = {"quick": "worse", "pcen": "worse"}
    later = a_pass("pcen", survivors=["pcen (2)"])
    state = FitState(asked="x", passes=[one, later], survey=None)
    again = next_edition(state, 100.0, keeps=True)
    assert again == FitState(asked="x", edition=1, begun=100.0, lost={"quick": "worse"})
    assert next_edition(state, 100.0, keeps=False).lost == {}


def test_any_longer_training_is_a_gain_after_a_tiny_budget() -> None:
    found = further(40, a_pass("quick", survivors=["quick"], folds=1, steps=1))
    assert found is not None
    assert found.allocation.candidates == ("quick",)
    assert found.allocation.steps > 200


def planned(seconds: float, *passes: Pass, refit: bool = False) -> Pass:
    options: dict[str, Any] = {"workers": TWO, "folds": 8, "members": 3, "refit": refit, "aside": ["frozen"]}
    found = plan_pass(10_000, seconds, STEPS, 40, passes, dict.fromkeys(tried_names(passes), 60.0), **options)
    assert found is not None
    return found


def test_candidates_on_frozen_embeddings_are_trained_once() -> None:
    first = planned(1000)
    assert first.allocation.aside == ("frozen",)
    assert "frozen" not in first.allocation.candidates
    assert first.kept == aside_seconds(1, 8, workers=TWO) == 32
    assert tried_names([first])["frozen"] == ("frozen", 0)
    first.survivors = [*first.allocation.candidates, "frozen"]
    further = planned(5000, first)
    assert further.allocation.aside == ()
    assert folds_tested([first])["frozen"] == first.allocation.folds


def test_time_is_reserved_for_frozen_candidates_and_a_refit() -> None:
    assert planned(1000, refit=True).kept > planned(1000).kept == aside_seconds(1, 8, workers=TWO)
