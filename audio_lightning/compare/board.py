"""Data classes of a leaderboard: rows, and the expected metric of the chosen row."""

from dataclasses import dataclass
from typing import Any, Literal

from audio_lightning.compare.statistics import Comparison, Spread

Unit = Literal["folds", "splits", "seeds"]


COSTS = ("parameters", "macs", "latency_ms", "epoch_seconds", "peak_memory_mb")
"""Cost columns of a row; medians over its trials."""

LEAKAGE = {
    "present": "Training and test share recordings, so the metrics are optimistic (leakage present)",
    "cannot be excluded": "The data has no groups of clips that belong together, so leakage cannot be excluded",
}
"""Warnings by result of the leakage check, the worst first."""


@dataclass(frozen=True)
class Row:
    """Row of a leaderboard: one setup (a configuration), averaged over its repetitions.

    Attributes:
        setup: identity of the configuration without seed and folds.
        name: short name: the choices in which the rows differ, such as ``logmel cnn adam`` or ``optimizer.lr=0.001``.
        choices: every choice that all trials of the setup share: of groups (``{"feature": "logmel", "model": "cnn",
            ...}``) and of the axes of the sweep.
        trials: positions of the setup's trials in the results.
        n: number of repetitions (see :attr:`Board.unit`).
        validation: mean and interval of the metric that orders the rows (:attr:`Board.monitor`).
        test: mean and interval of :attr:`Board.metric`; None without a test. It describes this row; the expected
            metric of the chosen row is :attr:`Board.expected`.
        recording: the same for whole recordings, if recordings were cut into windows.
        parameters: number of trainable parameters; this and the following costs are medians over the trials, None if
            unknown.
        macs: multiply-accumulate operations per clip.
        latency_ms: latency per clip in milliseconds, on the machine that trained.
        epoch_seconds: duration of a training epoch including validation, in seconds.
        peak_memory_mb: peak memory of the process of a trial, in MB.
        comparison: comparison with the best row; None for the best row itself.
        leakage: worst result of the leakage check over the trials: ``none found``, ``cannot be excluded`` or
            ``present``.
        validation_redrawn: whether the seeds share the test clips but have different training and validation clips.
            Their validation metrics are then measured on different clips, unlike the metrics of rows with fixed splits.
        pareto: whether the row is Pareto-optimal in validation metric and MACs.
    """

    setup: str
    name: str
    choices: dict[str, Any]
    trials: list[int]
    n: int
    validation: Spread
    test: Spread | None
    recording: Spread | None
    parameters: float | None
    macs: float | None
    latency_ms: float | None
    epoch_seconds: float | None
    peak_memory_mb: float | None
    comparison: Comparison | None
    leakage: str
    pareto: bool
    validation_redrawn: bool = False


@dataclass(frozen=True)
class Expected:
    """Expected test metric of the setup that validation chooses (:mod:`audio_lightning.compare.selection`).

    Attributes:
        test: mean and interval of :attr:`Board.metric`.
        recording: the same for whole recordings, if recordings were cut into windows.
        n: number of repetitions.
        nested: whether selection was repeated in every repetition, by the validation metric of that repetition alone.
            Otherwise no test clip determines the order of the rows, and ``test`` is the metric of the first row.
        chosen: names of the chosen rows, with the number of repetitions that chose each.
    """

    test: Spread
    recording: Spread | None
    n: int
    nested: bool
    chosen: dict[str, int]


@dataclass(frozen=True)
class Board:
    """Leaderboard: the setups that were trained on the same recordings, the best first.

    Attributes:
        metric: test metric, such as ``test/accuracy``.
        monitor: metric that orders the rows, such as ``validation/accuracy``. If the rows cut recordings into different
            windows, both ``monitor`` and ``metric`` are metrics of whole recordings.
        rows: setups by the mean of ``monitor``, the best first; never by the test metric.
        unit: kind of repetition: ``folds`` (disjoint test sets), ``splits`` (overlapping test sets) or ``seeds`` (the
            same test set).
        interval: description of the intervals in the rows.
        expected: expected metric of the first row, which is the chosen one; None without a test, or if the rows have
            no repetitions in common.
        no_winner: why the first row is not distinguishable from others, and what would settle it; None if it is
            distinguishable, or the only row.
        axes: keys that vary, in the order of the command line.
        notes: sentences about limits of the metrics and about incomplete rows.
        stamps: warnings about leakage, to show with every metric.
    """

    metric: str
    monitor: str
    rows: list[Row]
    unit: Unit
    interval: str
    axes: list[str]
    notes: list[str]
    stamps: list[str]
    expected: Expected | None = None
    no_winner: str | None = None
