"""Leaderboards: rows, and the figure to expect of the chosen one."""

from dataclasses import dataclass
from typing import Any, Literal

from audio_lightning.compare.statistics import Comparison, Spread

Unit = Literal["folds", "splits", "seeds"]


COSTS = ("parameters", "macs", "latency_ms", "epoch_seconds", "peak_memory_mb")
"""What a row costs; medians over its trials."""

LEAKAGE = {
    "present": "Training and test share recordings, so the figures are too good (leakage present)",
    "cannot be excluded": "Nothing in the data says which clips belong together, so leakage cannot be excluded",
}
"""What is said of splits that leak, the worst first."""


@dataclass(frozen=True)
class Row:
    """One setup: a configuration, over its repetitions.

    Attributes:
        setup: identity of the configuration without seed and folds.
        name: for people: the choices in which the rows differ, such as ``logmel cnn adam`` or ``optimizer.lr=0.001``.
        choices: every choice that all its trials share, of groups (``{"feature": "logmel", "model": "cnn", ...}``) and
            of the axes of the sweep.
        trials: positions in the results, of the trials that the figures come from.
        n: number of repetitions; what one is, see :attr:`Board.unit`.
        validation: of the metric by which the rows are ordered (:attr:`Board.monitor`).
        test: of :attr:`Board.metric`; None where there was no test. It describes the row; the figure to expect of the
            chosen one is :attr:`Board.expected`.
        recording: the same for whole recordings, where these were cut into windows.
        parameters: trainable ones; like the next ones the median over the trials, None where it is not known.
        macs: multiply-accumulates for a clip.
        latency_ms: for a clip on the machine that trained.
        epoch_seconds: of an epoch of training, with its validation.
        peak_memory_mb: of the process of a trial.
        comparison: against the best row; None for that one itself.
        leakage: the worst that is known of any of its trials: ``none found``, ``cannot be excluded`` or ``present``.
        validation_redrawn: whether its seeds are tested on the same clips and differ in those for training and
            validation, so that its validation metric has another meaning than that of rows with a fixed division.
        pareto: whether no other row has fewer MACs at a validation metric as good, or a better one for as many.
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
    """The figure to expect of the setup that validation chooses (:mod:`audio_lightning.compare.selection`).

    Attributes:
        test: of :attr:`Board.metric`.
        recording: the same for whole recordings, where these were cut into windows.
        n: number of repetitions.
        nested: whether it was chosen anew in every repetition, by the validation of that one alone; otherwise no clip
            that orders the rows is tested on, and the figure is that of the first row.
        chosen: names of the rows that were chosen, with the number of repetitions.
    """

    test: Spread
    recording: Spread | None
    n: int
    nested: bool
    chosen: dict[str, int]


@dataclass(frozen=True)
class Board:
    """The setups that were trained on the same recordings, the best first.

    Attributes:
        metric: the test metric that is shown, such as ``test/accuracy``.
        monitor: the metric by which the rows are ordered, such as ``validation/accuracy``; where the rows cut
            recordings into other windows it is that of whole recordings, the same as ``metric``.
        rows: by the mean of ``monitor``, the best first; never by the test metric, but where windows differ.
        unit: what a repetition is: a fold (test parts are disjoint), a split (they overlap), or a seed (they are the
            same).
        interval: which interval stands in the rows, over what, in words.
        expected: of the first row, which is the chosen one; None where there was no test, or where the rows have no
            repetitions in common.
        no_winner: why the first row is not distinguishable from others, and what would settle it; None where it is.
        axes: the keys that vary, as they were typed.
        notes: sentences for people: what the figures do not say, and which rows are incomplete.
        stamps: warnings that belong beside every figure: leaking splits.
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
