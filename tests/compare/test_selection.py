"""Nested selection: expected metric of the chosen setup, in boards and in simulated sweeps."""

from pathlib import Path

import numpy as np
import pytest
from simulated_sweeps import Outcome, Plan, best_mean, drawn, fitted, merged, nested
from sweep_folders import make_sweep, trial, write_predictions

from audio_lightning.compare.board import Board
from audio_lightning.compare.leaderboard import make_boards
from audio_lightning.compare.notes import conclusions
from audio_lightning.compare.selection import choose
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.report.sweep_page import write_sweep_page

VALIDATION = {"cnn": [0.9, 0.5, 0.9], "dnn": [0.6, 0.8, 0.6]}
TEST = {"cnn": [0.6, 0.9, 0.7], "dnn": [0.8, 0.5, 0.9]}


def board_of(path: Path, trials: list[dict], right: list[list[bool]] | None = None) -> Board:
    sweep = make_sweep(path / "sweep", trials)
    for (folder, _), clips in zip(sweep.folders(), right or []):
        write_predictions(folder, clips, [f"{folder.path.name} {clip}" for clip in range(len(clips))])
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", ["model"], [sweep])
    return board


def test_every_fold_chooses_by_its_own_validation(tmp_path: Path) -> None:
    """The first row is also preferred by the validation of other folds, on the test clips of this fold."""
    trials = [
        trial(VALIDATION[model][fold], TEST[model][fold], model=model, fold=fold)
        for model in VALIDATION
        for fold in range(3)
    ]
    board = board_of(tmp_path, trials)
    assert board.rows[0].name == "cnn"
    assert board.rows[0].test is not None
    assert board.rows[0].test.mean == pytest.approx(np.mean(TEST["cnn"]))
    assert board.expected is not None
    assert board.expected.nested
    assert board.expected.test.mean == pytest.approx((0.6 + 0.5 + 0.7) / 3)
    assert board.expected.chosen == {"cnn": 2, "dnn": 1}
    said = " ".join(conclusions(board))
    assert "nested selection" in said
    assert "cnn in 2 and dnn in 1" in said
    assert "descriptive" in said


@pytest.mark.parametrize("division", ["one", None], ids=["one division", "only one fold"])
def test_without_nested_selection_the_first_row_is_expected(tmp_path: Path, division: str | None) -> None:
    changes = [{"seed": seed} for seed in range(3)] if division else [{"fold": 1}]
    trials = [
        trial(VALIDATION[model][n], TEST[model][n], model=model, **change)
        for model in VALIDATION
        for n, change in enumerate(changes)
    ]
    board = board_of(tmp_path, trials)
    assert board.expected is not None
    assert not board.expected.nested
    assert board.expected.test == board.rows[0].test
    assert "that of the first row" in " ".join(conclusions(board))


def test_seeds_of_a_fold_choose_together(tmp_path: Path) -> None:
    validation = {"cnn": [[0.9, 0.5], [0.8, 0.8]], "dnn": [[0.75, 0.75], [0.5, 0.5]]}
    trials = [
        trial(value, 0.6 if model == "cnn" else 0.8, model=model, fold=fold, seed=seed)
        for model, folds in validation.items()
        for fold, values in enumerate(folds)
        for seed, value in enumerate(values)
    ]
    board = board_of(tmp_path, trials)
    assert board.expected is not None
    assert board.expected.chosen == {"dnn": 1, "cnn": 1}
    assert board.expected.test.mean == pytest.approx(0.7)


def test_rows_without_a_common_split_have_no_expected_figure(tmp_path: Path) -> None:
    trials = [trial(model=model, seed=seed, division=f"{model} {seed}") for model in ("cnn", "lstm") for seed in (0, 1)]
    board = board_of(tmp_path, trials)
    assert board.expected is None
    assert any("metrics of single rows are descriptive" in note for note in board.notes)
    page = write_sweep_page(SweepFolder(tmp_path / "sweep"), read_results([SweepFolder(tmp_path / "sweep")]), [board])
    assert "Descriptive test accuracy" in page.read_text(encoding="utf-8")


def test_the_interval_has_clips_and_folds_in_it(tmp_path: Path) -> None:
    """Three folds of the same accuracy have no variance; their 60 clips have."""
    right = [[clip % 4 > 0 for clip in range(20)] for _ in range(3)]
    trials = [trial(0.8, 0.75, model="cnn", fold=fold) for fold in range(3)]
    board = board_of(tmp_path, trials, right)
    assert board.expected is not None
    low, high = board.expected.test.low, board.expected.test.high
    assert low is not None
    assert high is not None
    assert (low, high) == (pytest.approx(0.63, abs=0.02), pytest.approx(0.84, abs=0.02))
    assert "over groups of test clips and 3 folds" in board.interval
    plain = board_of(tmp_path / "without predictions", trials)
    assert plain.expected is not None
    assert plain.expected.test.low is None


def test_one_training_a_row_has_an_interval_over_clips(tmp_path: Path) -> None:
    board = board_of(tmp_path, [trial(0.8, 0.75)], [[clip % 4 > 0 for clip in range(40)]])
    assert board.rows[0].test is not None
    assert board.rows[0].test.low == pytest.approx(0.59, abs=0.02)
    assert board.interval == "95 % interval over groups of test clips, for classifiers that are trained once"


TIES = {
    "loss": ({"validation/loss": 0.4}, {"validation/loss": 0.3}),
    "MACs": ({"validation/loss": 0.3, "macs": 200}, {"validation/loss": 0.3, "macs": 100}),
    "parameters": ({"macs": 100, "parameters": 20}, {"macs": 100, "parameters": 10}),
    "the metric comes first": ({"validation/accuracy": 0.8}, {"validation/accuracy": 0.81, "validation/loss": 9.0}),
}


@pytest.mark.parametrize(("first", "second"), TIES.values(), ids=TIES)
def test_ties_are_broken_by_loss_then_cost(tmp_path: Path, first: dict, second: dict) -> None:
    trials = [
        trial(0.8, 0.7, model=model, fold=fold, metrics=metrics)
        for model, metrics in (("typed first", first), ("better", second))
        for fold in range(2)
    ]
    board = board_of(tmp_path, trials)
    assert [row.name for row in board.rows] == ["better", "typed first"]
    assert board.expected is not None
    assert board.expected.chosen == {"better": 2}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids=["the first row", "the second row"])
def test_ties_within_a_fold_are_not_broken_by_other_folds(tmp_path: Path, names: tuple[str, str]) -> None:
    """Validation of the other folds is on clips that this fold tests."""
    validation = dict(zip(names, ([0.8, 0.8, 0.9], [0.8, 0.8, 0.7])))
    trials = [
        trial(value, 0.7, model=model, fold=fold) for model, row in validation.items() for fold, value in enumerate(row)
    ]
    board = board_of(tmp_path, trials)
    assert board.rows[0].name == names[0]
    assert board.expected is not None
    assert board.expected.chosen == ({"a": 3} if names[0] == "a" else {"a": 2, "b": 1})


def test_rounding_differences_are_ties(tmp_path: Path) -> None:
    trials = [
        trial(0.1 + 0.2, model="typed first", metrics={"macs": 200}),
        trial(0.3, model="cheaper", metrics={"macs": 100}),
    ]
    assert board_of(tmp_path, trials).rows[0].name == "cheaper"


def test_unknown_values_are_sorted_last() -> None:
    criteria = [np.array([[1.0], [1.0], [2.0]]), np.array([[np.inf], [0.5], [0.1]])]
    assert choose(criteria).tolist() == [1]


# Simulations: no training, or logistic regressions that are fitted within the test.

DRAWN = {
    "folds": Plan("folds", 5, 20),
    "redrawn splits": Plan("splits", 5, 20),
    "one fixed split": Plan("fixed", 1, 20, clips=400),
    "seeds": Plan("fixed", 3, 20, clips=400),
}


@pytest.mark.parametrize("plan", DRAWN.values(), ids=DRAWN)
def test_the_expected_figure_is_unbiased_and_its_interval_holds(plan: Plan) -> None:
    noise = 0.3 if plan.design == "fixed" and plan.repetitions > 1 else 0.0
    _holds(nested(drawn(plan, 300, seed=0, common=0.3, noise=noise)), plan)


FITTED = {
    "folds": Plan("folds", 5, 8),
    "folds with seeds": Plan("folds", 3, 20, clips=100, seeds=3),
    "redrawn splits": Plan("splits", 5, 8),
    "two splits": Plan("splits", 2, 8),
    "one fixed split": Plan("fixed", 1, 8, clips=400),
    "seeds": Plan("fixed", 3, 8, clips=400),
}


@pytest.mark.parametrize("plan", FITTED.values(), ids=FITTED)
def test_the_same_with_overlapping_training_parts(plan: Plan) -> None:
    _holds(nested(merged([fitted(plan, 150, seed) for seed in range(2)])), plan)


def _holds(found: Outcome, plan: Plan, *, margin: float = 0.0) -> None:
    """Bias below half a point, coverage, and type I error; a single training a row is compared by no test at all."""
    assert abs(found.bias) < 0.5
    assert found.coverage >= 0.93 - margin
    single = plan.repetitions == 1
    assert found.tested == (0.0 if single else 1.0)
    assert single or found.false <= 0.06 + margin


def test_the_simulation_finds_the_bias_of_the_best_mean() -> None:
    """Without nested selection, the estimate is biased."""
    plan = Plan("folds", 5, 20)
    found = best_mean(drawn(plan, 200, seed=0))
    assert 5 < found.bias < 6.5
    assert found.coverage < 0.8


@pytest.mark.full
@pytest.mark.parametrize("rows", [2, 20])
@pytest.mark.parametrize(
    ("design", "repetitions", "seeds"),
    [*(("folds", folds, seeds) for folds in (3, 5, 10) for seeds in (1, 3, 5)), ("splits", 2, 1), ("splits", 5, 1),
     ("splits", 10, 1), *(("fixed", seeds, 1) for seeds in (1, 2, 3, 4, 5))],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["drawn", "fitted"])
def test_every_design(kind: str, design: str, repetitions: int, seeds: int, rows: int) -> None:
    """Bias, coverage and family-wise type I error in lots of 25 sweeps, as large ones need gigabytes.

    Shares may miss by two standard errors of a simulation of 500, since there are 68 of these.
    """
    plan = Plan(design, repetitions, rows, seeds=seeds, clips=400 if design == "fixed" else 200)
    lots = [
        drawn(plan, 25, seed, common=0.3, noise=0.2) if kind == "drawn" else fitted(plan, 25, seed)
        for seed in range(20)
    ]
    found, margin = nested(merged(lots)), 2 * np.sqrt(0.05 * 0.95 / 500)
    _holds(found, plan, margin=margin)
    assert found.coverage_mean >= 0.93 - margin
