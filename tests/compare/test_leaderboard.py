"""Leaderboards: averages over repetitions, order of the rows, and notes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sweep_folders import make_sweep, trial

from audio_lightning.compare.board import Board
from audio_lightning.compare.leaderboard import make_boards, write_leaderboard
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.files import write_csv, write_json
from audio_lightning.core.task import lower_is_better
from audio_lightning.report.terminal import print_boards

Trials = Sequence[dict[str, Any]]


def boards_of(path: Path, trials: Trials, monitor: str = "validation/accuracy") -> list[Board]:
    sweep = make_sweep(path / "sweep", trials, monitor=monitor)
    return make_boards(read_results([sweep]), monitor, sweep.read_facts().axes, [sweep])


def board_of(path: Path, trials: Trials, monitor: str = "validation/accuracy") -> Board:
    (board,) = boards_of(path, trials, monitor)
    return board


def with_predictions(sweep: SweepFolder, clips: Sequence[Sequence[tuple[str, str, str]]]) -> SweepFolder:
    """Write ``predictions.csv`` of every trial: path, start and end of its test clips."""
    for (folder, _), places in zip(sweep.folders(), clips, strict=True):
        columns = ["path", "start_seconds", "end_seconds", "label", "predicted"]
        write_csv(folder.predictions, columns, ([*place, "a", "b"] for place in places))
    return sweep


def clips_of(*recordings: str, seconds: float = 1.0, windows: int = 1) -> list[tuple[str, str, str]]:
    return [(path, str(n * 0.5), str(n * 0.5 + seconds)) for path in recordings for n in range(windows)]


def names(board: Board) -> list[str]:
    return [row.name for row in board.rows]


def test_rows_are_ordered_by_validation_never_by_test(tmp_path: Path) -> None:
    board = board_of(
        tmp_path, [trial(0.7, 0.9, model="cnn"), trial(0.8, 0.6, model="lstm"), trial(0.75, 0.7, model="dnn")]
    )
    assert names(board) == ["lstm", "dnn", "cnn"]
    assert (board.metric, board.monitor) == ("test/accuracy", "validation/accuracy")
    assert [row.test.mean for row in board.rows if row.test] == [0.6, 0.7, 0.9]
    assert [row.trials for row in board.rows] == [[1], [2], [0]]


def test_a_smaller_loss_is_better(tmp_path: Path) -> None:
    losses = {"cnn": (0.9, 0.8), "lstm": (0.3, 0.4), "dnn": (0.5, 0.6)}
    trials = [
        trial(model=model, seed=seed, metrics={"validation/loss": loss, "test/loss": tested + seed * loss / 100})
        for model, (loss, tested) in losses.items()
        for seed in range(3)
    ]
    board = board_of(tmp_path, trials, "validation/loss")
    assert names(board) == ["lstm", "dnn", "cnn"]
    assert board.metric == "test/loss"
    assert [row.pareto for row in board.rows] == [True, False, False]
    assert [row.comparison.verdict for row in board.rows[1:] if row.comparison] == ["worse, p < 0.001"] * 2


def test_a_configured_metric_is_ordered_as_its_trials_recorded(tmp_path: Path) -> None:
    """A metric for which lower is better, and which may be negative."""
    parts = ("validation/mine", "test/mine")
    trials = [
        trial(model=model, seed=seed, metrics=dict.fromkeys(parts, value * (1 + seed / 50))
              | {"lower_is_better": "other mine"})
        for model, value in {"cnn": 0.02, "lstm": -0.02, "dnn": 5.0}.items()
        for seed in range(3)
    ]  # fmt: skip
    board = board_of(tmp_path, trials, "validation/mine")
    assert names(board) == ["lstm", "cnn", "dnn"]
    assert [row.pareto for row in board.rows] == [True, False, False]
    assert [row.comparison.verdict for row in board.rows[1:] if row.comparison] == ["worse, p < 0.001"] * 2
    first, last = board.rows[0].validation, board.rows[-1].validation
    assert first.low is not None
    assert first.low < first.mean < 0
    assert last.high is not None
    assert last.high > last.mean > 5
    for found in trials:
        del found["metrics"]["lower_is_better"]
    assert names(board_of(tmp_path / "higher", trials, "validation/mine")) == ["dnn", "cnn", "lstm"]


def test_a_smaller_loss_of_recordings_is_better() -> None:
    assert lower_is_better("validation/recording_loss")
    assert not lower_is_better("validation/recording_accuracy")


def test_only_finished_trials_count(tmp_path: Path) -> None:
    states = ("failed", "running", "queued", "skipped", "interrupted", "pruned")
    others = [trial(0.9, model="cnn", seed=seed, state=state) for seed, state in enumerate(states, 1)]
    board = board_of(tmp_path, [trial(0.5, model="cnn"), *others])
    assert [row.validation.mean for row in board.rows] == [0.5]
    assert not any("Left out" in note for note in board.notes)


def test_a_trial_without_a_finite_metric_is_named_and_the_others_are_ranked(tmp_path: Path) -> None:
    why = "validation/accuracy is not a number"
    board = board_of(
        tmp_path, [trial(0.7, model="cnn"), trial(None, model="dnn", reason=why), trial(0.8, model="lstm")]
    )
    assert names(board) == ["lstm", "cnn"]
    assert [row.trials for row in board.rows] == [[2], [0]]
    assert f"Not ranked, because they have no finite validation/accuracy: trial 1 ({why})." in board.notes


def test_rows_are_ordered_by_the_loss_where_no_trial_has_the_metric(tmp_path: Path) -> None:
    losses = {"cnn": 0.5, "lstm": 0.3}
    trials = [
        trial(None, model=model, metrics={"validation/loss": loss, "test/loss": loss}) for model, loss in losses.items()
    ]
    board = board_of(tmp_path, trials)
    assert names(board) == ["lstm", "cnn"]
    assert (board.monitor, board.metric) == ("validation/loss", "test/loss")
    assert "No trial has a finite validation/accuracy, so the rows are ordered by validation/loss." in board.notes


def test_no_finished_trial_is_no_board(tmp_path: Path) -> None:
    assert boards_of(tmp_path, [trial(state="failed")]) == []
    assert make_boards(read_results([]), "validation/accuracy", [], []) == []


def test_seeds_are_averaged_within_folds(tmp_path: Path) -> None:
    """Two folds with unequal numbers of seeds: the mean is that of the folds, and n counts folds."""
    trials = [trial(0.6, 0.60, fold=1, seed=0), trial(0.8, 0.66, fold=1, seed=1), trial(0.9, 0.64, fold=2, seed=0)]
    board = board_of(tmp_path, trials)
    (row,) = board.rows
    assert (board.unit, row.n) == ("folds", 2)
    assert row.validation.mean == pytest.approx((0.7 + 0.9) / 2)
    assert row.validation.std == pytest.approx(np.std([0.7, 0.9], ddof=1))
    assert row.test is not None
    assert row.test.mean == pytest.approx(0.635)
    assert (row.test.low, row.test.high) == (None, None)  # two numbers, with nothing known of single clips
    assert row.trials == [0, 1, 2]
    assert board.interval == "none: 2 folds per row are too few"
    assert any("averaged within folds" in note for note in board.notes)


def cells(values: dict[str, dict[tuple[int, int], float]]) -> Trials:
    return [
        trial(value, value, model=model, fold=fold, seed=seed)
        for model, found in values.items()
        for (fold, seed), value in found.items()
    ]


def test_missing_seeds_within_a_fold_are_noted_and_not_compared(tmp_path: Path) -> None:
    """Without the missing, bad seed in fold 2, dnn would be first."""
    complete = {(fold, seed): value for fold in (1, 2, 3) for seed, value in enumerate([0.8, 0.4])}
    lacking = {cell: value - 0.02 for cell, value in complete.items() if cell != (2, 1)}
    board = board_of(tmp_path, cells({"dnn": lacking, "cnn": complete}))
    assert names(board) == ["cnn", "dnn"]
    assert [len(row.trials) for row in board.rows] == [5, 5]
    assert [row.validation.mean for row in board.rows] == pytest.approx([2 / 3, 2 / 3 - 0.02])
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.difference == pytest.approx(-0.02)
    said = "Seeds are missing within folds: dnn (fold 2: 1 of 2). Rows are compared on the seeds that all of them have"
    assert any(note.startswith(said) for note in board.notes)


def test_a_fold_with_fewer_seeds_in_all_rows_is_noted(tmp_path: Path) -> None:
    values = {(1, 0): 0.6, (1, 1): 0.7, (2, 0): 0.8}
    board = board_of(tmp_path, cells({"cnn": values, "dnn": values}))
    assert "Seeds are missing within folds: cnn (fold 2: 1 of 2); dnn (fold 2: 1 of 2)." in board.notes
    assert [len(row.trials) for row in board.rows] == [3, 3]


def test_complete_seeds_are_not_mentioned(tmp_path: Path) -> None:
    values = {(fold, seed): 0.5 + fold / 10 for fold in (1, 2) for seed in range(2)}
    board = board_of(tmp_path, cells({"cnn": values, "dnn": values}))
    assert not any("missing" in note for note in board.notes)


def test_rows_whose_validation_is_redrawn_by_the_seed_are_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [trial(0.8, 0.7 + seed**2 / 100, model="drawn", seed=seed, division=str(seed)) for seed in range(3)]
    trials += [trial(0.7, 0.6 + seed / 100, model="fixed", seed=seed, division="one") for seed in range(3)]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of("a", "b")] * 6)
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", ["model"], [sweep])
    assert {row.name: row.validation_redrawn for row in board.rows} == {"drawn": True, "fixed": False}
    assert any("the seed redraws the training and validation clips of drawn:" in note for note in board.notes)
    print_boards([board])
    assert "(validation" in capsys.readouterr().out  # in the column of names, which wraps
    write_leaderboard(sweep, [board])
    with sweep.leaderboard.open(newline="", encoding="utf-8") as file:
        assert [row["validation_redrawn"] for row in csv.DictReader(file)] == ["true", "false"]


def test_redrawn_splits_have_the_corrected_interval(tmp_path: Path) -> None:
    trials = [trial(value, 0.5, seed=seed, division=f"by {seed}") for seed, value in enumerate([0.6, 0.65, 0.7])]
    board = board_of(tmp_path, trials)
    (row,) = board.rows
    assert (board.unit, row.n) == ("splits", 3)
    half = stats.t.ppf(0.975, 2) * 0.05 * np.sqrt(1 / 3 + 16 / 80)
    assert row.validation.high == pytest.approx(0.65 + half)
    assert "Nadeau and Bengio" in board.interval


def test_folds_of_which_some_test_on_the_same_clips_are_splits(tmp_path: Path) -> None:
    """Another validation fold gives other splits, but the same test clips."""
    pairs = [(tested, validated) for tested in (1, 2) for validated in (3, 4)]
    trials = [
        trial(0.6, fold=tested, division=f"{tested} {validated}", hash=f"{tested}{validated}")
        for tested, validated in pairs
    ]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of(f"{tested}.wav") for tested, _ in pairs])
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])
    assert (board.unit, board.rows[0].n) == ("splits", 4)


PARTS = {
    "the same": (["ab", "ba", "ab"], "seeds"),
    "overlapping": (["ab", "bc", "cd"], "splits"),
    "disjoint": (["ab", "cd", "ef"], "splits"),
    "one untested": (["ab", "ab", ""], "splits"),
}


@pytest.mark.parametrize(("tested", "unit"), PARTS.values(), ids=PARTS)
def test_splits_with_the_same_test_clips_are_seeds(tmp_path: Path, tested: list[str], unit: str) -> None:
    """Only training and validation clips are redrawn, as with an official test list."""
    values = [0.5, 0.6, 0.75]
    trials = [
        trial(value + gain, value + gain**2, model=model, seed=seed, division=str(seed))
        for model, gain in (("cnn", 0.1), ("dnn", 0.0))
        for seed, value in enumerate(values)
    ]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of(*paths) for paths in tested] * 2)
    for folder, status in sweep.folders():
        if not tested[status.choices["seed"]]:
            folder.predictions.unlink()
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", ["model"], [sweep])
    best, other = board.rows
    assert (board.unit, best.n, other.n) == (unit, 3, 3)
    assert best.test is not None
    assert best.test.high is not None
    ratio = 10 / 80 if unit == "splits" else 0.0
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1)
    assert best.test.high == pytest.approx(min(1.0, best.test.mean + half * np.sqrt(1 / 3 + ratio)))
    # Validation parts overlap in any case.
    assert other.validation.low == pytest.approx(max(0.0, np.mean(values) - half * np.sqrt(1 / 3 + 16 / 80)))
    noise_only = any("only measure the variance of training" in note for note in board.notes)
    assert noise_only == (unit == "seeds")
    assert ("variance of training alone" in board.interval) == (unit == "seeds")


def test_rows_with_other_validation_clips_are_paired_by_seed(tmp_path: Path) -> None:
    trials = [
        trial(0.8 - share, 0.8 - share + seed**2 / 100 * share, seed=seed, division=f"{share}", config={"share": share})
        for share in (0.1, 0.2)
        for seed in range(3)
    ]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of("a", "b")] * 6)
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])
    assert (board.unit, [row.n for row in board.rows]) == ("seeds", [3, 3])
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.test == "paired t-test"


def test_seeds_are_averaged_within_splits_with_the_same_test_clips(tmp_path: Path) -> None:
    trials = [
        trial(0.5 + drawn / 10 + seed / 100, seed=seed, division=f"{drawn}", hash=f"{drawn}{seed}")
        for drawn in range(2)
        for seed in range(3)
    ]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of("a", "b")] * 6)
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])
    assert (board.unit, board.rows[0].n) == ("seeds", 2)
    assert any("n counts splits" in note for note in board.notes)


def test_seeds_of_one_split_measure_the_variance_of_training_only(tmp_path: Path) -> None:
    cnn, lstm = [0.80, 0.82, 0.84], [0.70, 0.71, 0.75]
    trials = [trial(value, value, model="cnn", seed=seed) for seed, value in enumerate(cnn)]
    trials += [trial(value, value, model="lstm", seed=seed) for seed, value in enumerate(lstm)]
    board = board_of(tmp_path, trials[::-1])  # pairs go by seed, not by place
    assert (board.unit, [row.n for row in board.rows]) == ("seeds", [3, 3])
    assert any("only measure the variance of training" in note for note in board.notes)
    assert board.rows[0].comparison is None
    comparison = board.rows[1].comparison
    assert comparison is not None
    assert comparison.test == "paired t-test"
    assert comparison.p == pytest.approx(stats.ttest_rel(lstm, cnn).pvalue)
    assert comparison.difference == pytest.approx(-0.1)
    assert comparison.verdict.startswith("worse, p = 0.00")


def test_one_training_per_row(tmp_path: Path) -> None:
    board = board_of(tmp_path, [trial(0.8, model="cnn"), trial(0.7, model="lstm")])
    assert board.rows[0].validation.std is None
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.verdict == "one split: no test possible"
    assert board.interval == "none: one seed per row"
    assert any("does not show how uncertain" in note for note in board.notes)


def test_tests_are_on_the_test_metric_with_the_share_of_test_clips(tmp_path: Path) -> None:
    best, other = [0.80, 0.82, 0.84], [0.77, 0.81, 0.80]
    trials = [trial(0.9, value, model="cnn", fold=fold) for fold, value in enumerate(best, 1)]
    trials += [trial(0.8, value, model="lstm", fold=fold) for fold, value in enumerate(other, 1)]
    comparison = board_of(tmp_path, trials).rows[1].comparison
    assert comparison is not None
    assert comparison.test == "corrected resampled t-test"
    differences = np.subtract(other, best)
    t = differences.mean() / (differences.std(ddof=1) * np.sqrt(1 / 3 + 10 / 80))
    assert comparison.p == pytest.approx(2 * stats.t.cdf(t, 2))
    assert comparison.verdict == "not distinguishable"


def test_a_row_that_is_better_on_test_stays_below(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 8)
    trials = [trial(0.9, 0.6, model="cnn", fold=fold) for fold in range(1, 9)]
    trials += [trial(0.8, 0.7 + noise[fold - 1], model="lstm", fold=fold) for fold in range(1, 9)]
    board = board_of(tmp_path, trials)
    assert names(board) == ["cnn", "lstm"]
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.verdict == "better, p < 0.001"
    assert any("Better than the first row on the test clips: lstm" in note for note in board.notes)


def test_rows_are_compared_on_what_all_of_them_have(tmp_path: Path) -> None:
    """Without the missing, easy fold of one row, the other row would be first."""
    trials = [trial(value, model="cnn", fold=fold) for fold, value in [(1, 0.5), (2, 0.5), (3, 1.0)]]
    trials += [trial(value, model="lstm", fold=fold) for fold, value in [(1, 0.6), (2, 0.6)]]
    board = board_of(tmp_path, trials)
    assert [(row.name, row.n, row.trials) for row in board.rows] == [("lstm", 2, [3, 4]), ("cnn", 2, [0, 1])]
    assert any("incomplete: lstm (2 of 3)" in note for note in board.notes)


def test_a_row_with_few_folds_is_left_out(tmp_path: Path) -> None:
    trials = [trial(model=model, fold=fold) for model in ("cnn", "lstm") for fold in (1, 2, 3)]
    board = board_of(tmp_path, [*trials, trial(0.99, model="dnn", fold=1)])
    assert [(row.name, row.n) for row in board.rows] == [("cnn", 3), ("lstm", 3)]
    assert "Left out, because they have fewer than half as many finished folds as another row: dnn (1 of 3)." in (
        board.notes
    )


def test_rows_without_a_common_split_are_not_tested(tmp_path: Path) -> None:
    trials = [trial(model=model, seed=seed, division=f"{model} {seed}") for model in ("cnn", "lstm") for seed in (0, 1)]
    board = board_of(tmp_path, trials)
    assert [row.n for row in board.rows] == [2, 2]
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.verdict == "no splits in common: no test possible"
    assert any("no splits in common" in note for note in board.notes)


def test_other_recordings_are_another_board(tmp_path: Path) -> None:
    boards = boards_of(tmp_path, [trial(0.9, model="cnn", content="birds"), trial(0.5, model="cnn", content="bells")])
    assert [[row.validation.mean for row in board.rows] for board in boards] == [[0.9], [0.5]]
    assert all("cannot be compared" in board.notes[0] for board in boards)


def test_without_test_clips_rows_are_compared_on_validation(tmp_path: Path) -> None:
    trials = [trial(0.8 + seed / 100, None, model="cnn", seed=seed) for seed in range(3)]
    trials += [trial(0.7 + seed**2 / 100, None, model="lstm", seed=seed) for seed in range(3)]
    board = board_of(tmp_path, trials)
    assert [row.test for row in board.rows] == [None, None]
    assert board.rows[1].comparison is not None
    assert board.rows[1].comparison.p is not None
    assert any("optimistic" in note for note in board.notes)


def test_a_training_metric_is_ordered_by_with_a_warning(tmp_path: Path) -> None:
    trials = [
        trial(None, None, model=model, metrics={"train/accuracy": value})
        for model, value in (("cnn", 0.6), ("lstm", 0.7))
    ]
    board = board_of(tmp_path, trials, "train/accuracy")
    assert names(board) == ["lstm", "cnn"]
    assert any("is no evidence for new recordings" in note for note in board.notes)


def test_trials_without_the_metric_are_left_out(tmp_path: Path) -> None:
    trials = [trial(0.8, model="cnn"), trial(None, model="lstm"), trial(float("nan"), model="dnn")]
    board = board_of(tmp_path, trials)
    assert names(board) == ["cnn"]
    assert "Not ranked, because they have no finite validation/accuracy: trial 1, trial 2." in board.notes
    assert board_of(tmp_path / "none", [trial(None)]).rows == []


def test_metrics_that_no_trial_has_are_not_known(tmp_path: Path) -> None:
    """A ``metrics.json`` of an earlier version, or one that was made by hand."""
    sweep = make_sweep(tmp_path / "sweep", [trial(0.8, model="cnn", fold=0), trial(0.7, model="cnn", fold=1)])
    for folder, _ in sweep.folders():
        write_json(folder.metrics, {"validation/accuracy": folder.read_metrics()["validation/accuracy"]})
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", ["model"], [sweep])
    assert board.rows[0].leakage == "cannot be excluded"
    assert board.rows[0].validation.mean == pytest.approx(0.75)
    assert (board.unit, board.expected) == ("splits", None)


def test_leaks_are_stamped(tmp_path: Path) -> None:
    leakage = {"cnn": ["none found", "present"], "lstm": ["cannot be excluded"] * 2, "dnn": ["none found"] * 2}
    trials = [
        trial(model=model, seed=seed, metrics={"leakage": kind})
        for model, kinds in leakage.items()
        for seed, kind in enumerate(kinds)
    ]
    board = board_of(tmp_path, trials)
    assert {row.name: row.leakage for row in board.rows} == {
        "cnn": "present",
        "lstm": "cannot be excluded",
        "dnn": "none found",
    }
    assert [stamp.rpartition(": ")[2] for stamp in board.stamps] == ["cnn.", "lstm."]
    assert "present" in board.stamps[0]
    assert board_of(tmp_path / "clean", [trial()]).stamps == []
    assert board_of(tmp_path / "all", [trial(metrics={"leakage": "present"})]).stamps[0].endswith("all rows.")


def test_costs_are_medians_and_the_pareto_front_uses_validation(tmp_path: Path) -> None:
    trials = [
        trial(0.8, 0.1, model="cnn", seed=seed, latency_ms=latency, metrics={"macs": 100, "seconds": 4.0 * latency})
        for seed, latency in enumerate((1.0, 2.0, 9.0))
    ]
    trials += [
        trial(validation, 0.9, model=model, seed=seed, latency_ms=None, metrics={"macs": macs})
        for model, validation, macs in (
            ("big", 0.9, 500),
            ("bad", 0.7, 300),
            ("tie", 0.8, 101),
            ("unknown", 0.99, None),
        )
        for seed in range(3)
    ]
    rows = {row.name: row for row in board_of(tmp_path, trials).rows}
    assert (rows["cnn"].latency_ms, rows["cnn"].epoch_seconds, rows["cnn"].parameters) == (2.0, 2.0, 1000)
    assert rows["big"].latency_ms is None
    assert rows["unknown"].macs is None
    assert {name for name, row in rows.items() if row.pareto} == {"cnn", "big"}


def test_whole_recordings_are_shown_with_their_windows(tmp_path: Path) -> None:
    (row,) = board_of(tmp_path, [trial(0.8, 0.6, metrics={"test/recording_accuracy": 0.75})]).rows
    assert row.recording is not None
    assert row.recording.mean == 0.75


def cut(clip: float, hop: float | None, tested: float, recording: float | None, **changes: Any) -> dict[str, Any]:
    data = {"data": {"clip_seconds": clip, "hop_seconds": hop}}
    metrics = {"test/recording_accuracy": recording, "validation/recording_accuracy": recording and recording - 0.05}
    return trial(tested, tested, config=data, metrics=metrics, **changes)


@pytest.mark.parametrize("whole", [True, False], ids=["a row that is not cut", "both are cut"])
def test_rows_with_other_windows_are_compared_by_recordings(tmp_path: Path, whole: bool) -> None:
    """The longer window is better by window, and worse by recording."""
    noise = [0.0, 0.01, 0.03]
    trials = [cut(0.5, 0.5, 0.6, 0.9 + noise[seed], seed=seed) for seed in range(3)]
    other = (None, None) if whole else (0.5, 0.7)
    trials += [cut(2.0, other[0], 0.7, other[1] and other[1] - noise[seed], seed=seed) for seed in range(3)]
    board = board_of(tmp_path, trials)
    assert (board.monitor, board.metric) == ("validation/recording_accuracy", "test/recording_accuracy")
    assert [row.name for row in board.rows] == ["logmel cnn data.clip_seconds=0.5", "logmel cnn data.clip_seconds=2"]
    best, second = board.rows
    assert best.validation.mean == pytest.approx(0.85 + np.mean(noise))
    assert best.test.mean == pytest.approx(0.9 + np.mean(noise))
    assert second.comparison is not None
    assert second.comparison.verdict.startswith("worse, p = ")
    assert second.comparison.difference == pytest.approx(-0.2 - np.mean(noise) * (1 if whole else 2))
    assert "ordered by validation/recording_accuracy and tested by test/recording_accuracy" in " ".join(board.notes)


def test_the_test_never_orders_windows_of_which_no_validation_by_recordings_is_known(tmp_path: Path) -> None:
    trials = [cut(0.5, 0.5, 0.6, 0.9), cut(2.0, 0.5, 0.7, 0.5)]
    for one in trials:
        del one["metrics"]["validation/recording_accuracy"]
    board = board_of(tmp_path, trials)
    assert (board.monitor, board.metric) == ("validation/accuracy", "test/accuracy")
    assert "not all rows have the metrics of whole recordings" in " ".join(board.notes)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [((0.5, 0.5), (2.0, 0.5), True), ((0.5, 0.5), (0.5, 0.25), True), ((0.5, None), (2.0, None), False),
     ((0.5, 0.5), (0.5, 0.5), False)],
    ids=["length", "hop", "not cut", "alike"],
)  # fmt: skip
def test_windows_that_cannot_be_compared_are_noted(
    tmp_path: Path, first: tuple[float, float | None], second: tuple[float, float | None], said: bool
) -> None:
    board = board_of(tmp_path, [cut(*first, 0.6, None, model="cnn"), cut(*second, 0.7, None, model="dnn")])
    assert board.monitor == "validation/accuracy"
    assert any("different windows" in note for note in board.notes) == said


@pytest.mark.parametrize(("other", "unit"), [("b", "seeds"), ("c", "splits")])
def test_windows_of_divisions_with_one_test_list_are_seeds(tmp_path: Path, other: str, unit: str) -> None:
    """The clips differ from row to row, the recordings do not."""
    trials = [cut(clip, 0.5, 0.6, 0.6, seed=seed, division=str(seed)) for clip in (0.5, 2.0) for seed in range(2)]
    windows = [clips_of("a", "b", seconds=0.5, windows=3)] * 2 + [clips_of("a", other, seconds=2.0)] * 2
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), windows)
    assert make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])[0].unit == unit


def test_other_parts_of_the_same_recordings_are_splits(tmp_path: Path) -> None:
    trials = [trial(seed=seed, division=str(seed)) for seed in range(2)]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [[("a", "0.0", "1.0")], [("a", "1.0", "2.0")]])
    assert make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])[0].unit == "splits"


def test_validation_parts_that_are_drawn_anew_have_the_corrected_test(tmp_path: Path) -> None:
    """Neither row has the metric on the test clips, which are always the same."""
    values = {"cnn": [0.6, 0.7, 0.9], "dnn": [0.5, 0.65, 0.7]}
    trials = [
        trial(value, None, model=model, seed=seed, division=str(seed))
        for model, found in values.items()
        for seed, value in enumerate(found)
    ]
    sweep = with_predictions(make_sweep(tmp_path / "s", trials), [clips_of("a")] * 6)
    (board,) = make_boards(read_results([sweep]), "validation/accuracy", [], [sweep])
    assert board.rows[1].comparison is not None
    assert (board.unit, board.rows[1].comparison.test) == ("seeds", "corrected resampled t-test")


def test_equal_values_have_no_interval(tmp_path: Path) -> None:
    trials = [trial(0.5, 0.25, seed=seed) for seed in range(3)]
    board = board_of(tmp_path, trials)
    (row,) = board.rows
    assert row.test is not None
    assert (row.test.std, row.test.low, row.test.high) == (0.0, None, None)
    assert board.interval == "none, because all seeds of a row are equal"
    varying = [trial(0.5 + seed / 10, 0.3 + seed / 10, model="dnn", seed=seed) for seed in range(3)]
    mixed = board_of(tmp_path / "mixed", [*(row | {"model": "cnn"} for row in trials), *varying])
    assert mixed.interval.endswith("variance of training alone; none if all of them are equal")


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(feature=f, model=m, seed=s) for f in ("logmel", "mfcc") for m in ("cnn", "dnn") for s in (0, 1)],
         {"logmel cnn", "logmel dnn", "mfcc cnn", "mfcc dnn"}),
        ([trial(feature="mfcc", model=m) for m in ("cnn", "dnn")], {"cnn", "dnn"}),
        ([trial(model="cnn", lr=lr) for lr in (0.1, 1e-5)], {"optimizer.lr=0.1", "optimizer.lr=1e-05"}),
        ([trial(fold=fold) for fold in (1, 2)], {"logmel cnn"}),
        ([trial(model="cnn", feature="mfcc", fold=1)], {"cnn mfcc"}),
        ([trial(model="cnn", config={"loss": {"label_smoothing": value}}) for value in (0.0, 0.1)],
         {"cnn loss.label_smoothing=0", "cnn loss.label_smoothing=0.1"}),
        ([trial(model="cnn", setup=setup, hash=setup) for setup in ("abcdefgh", "stuvwxyz")],
         {"cnn abcdef", "cnn stuvwx"}),
        ([trial(channels_last=value) for value in (True, False)], {"channels_last=true", "channels_last=false"}),
    ],
    ids=["groups", "only what varies", "keys", "folds", "one", "configurations", "nothing", "top-level keys"],
)  # fmt: skip
def test_a_row_is_named_by_what_varies(tmp_path: Path, trials: Trials, expected: set[str]) -> None:
    if "channels_last" in trials[0]:
        trials = [{**row, "config": {"channels_last": row["channels_last"]}} for row in trials]
    board = board_of(tmp_path, trials)
    assert set(names(board)) == expected


def test_choices_are_those_that_all_trials_share(tmp_path: Path) -> None:
    (row,) = board_of(tmp_path, [trial(model="cnn", lr=0.1, fold=fold, seed=fold) for fold in (1, 2)]).rows
    assert row.choices == {
        "data": "demo", "feature": "logmel", "model": "cnn", "optimizer": "adamw", "optimizer.lr": 0.1,
    }  # fmt: skip


def test_two_sweeps_with_other_axes(tmp_path: Path) -> None:
    """The value of an axis of one sweep only is read from the configuration of the other."""
    first = make_sweep(tmp_path / "a", [trial(0.8, model="cnn"), trial(0.7, model="lstm")])
    second = make_sweep(tmp_path / "b", [trial(0.9, model="cnn", lr=0.1)])
    (board,) = make_boards(
        read_results([first, second]), "validation/accuracy", ["model", "optimizer.lr"], [first, second]
    )
    assert names(board) == ["cnn optimizer.lr=0.1", "cnn optimizer.lr=0.001", "lstm optimizer.lr=0.001"]


def test_the_file(tmp_path: Path) -> None:
    trials = [trial(0.9, 0.8 + fold / 100, model="cnn", fold=fold) for fold in (1, 2, 3)]
    trials += [trial(0.7, 0.6 + fold**2 / 100, model="null", fold=fold) for fold in (1, 2, 3)]
    sweep = make_sweep(tmp_path / "sweep", trials)
    boards = make_boards(read_results([sweep]), "validation/accuracy", ["model", "data.test_fold"], [sweep])
    write_leaderboard(sweep, boards)
    with sweep.leaderboard.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["rank"], first["name"], first["verdict"], first["p"]) == ("1", "cnn", "best", "")
    assert float(first["test/accuracy mean"]) == pytest.approx(0.82)
    assert float(first["test/accuracy std"]) == pytest.approx(boards[0].rows[0].test.std)
    assert (second["choice.model"], second["n"], second["unit"]) == ("null", "3", "folds")
    assert boards[0].rows[1].comparison is not None
    assert float(second["p_holm"]) == boards[0].rows[1].comparison.p_holm
    write_leaderboard(sweep, [])
    assert sweep.leaderboard.read_text() == "board,rank\n"


def test_an_interval_stays_within_what_the_metric_can_be(tmp_path: Path) -> None:
    values = enumerate([0.4, 0.75, 0.99])
    (row,) = board_of(tmp_path, [trial(value, 1 - value, seed=seed, division=str(seed)) for seed, value in values]).rows
    assert row.test is not None
    assert (row.validation.low, row.validation.high) == (0.0, 1.0)
    assert (row.test.low, row.test.high) == (0.0, 1.0)
