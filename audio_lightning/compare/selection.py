"""Order of the setups, and nested selection: the expected test metric of the setup that validation chooses.

With rotated folds or redrawn splits, each clip is a validation clip in one repetition and a test clip in another. The
setup with the best mean validation metric then also happens to suit the test clips, and its mean test metric is
optimistic. Nested selection chooses a setup in every repetition, by the validation clips of that repetition alone
(Varma and Simon, "Bias in Error Estimation When Using Cross-Validation for Model Selection", BMC Bioinformatics 7,
2006). The mean test metric of the chosen setups has no such bias. It describes a choice from one repetition, which is
slightly worse than a choice from all of them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from audio_lightning.compare.board import Expected, Unit
from audio_lightning.compare.clip_results import Sparse
from audio_lightning.compare.setups import Setup, spread_of
from audio_lightning.compare.statistics import Spread

DIGITS = 9
"""Decimal places to which metrics are rounded; metrics that are then equal are tied."""


def ordered(setups: Sequence[Setup], monitor: str) -> list[int]:
    """Return the order of the setups, the best first: by the mean of the metric, then loss, MACs, parameters."""
    return list(_order(_criteria(setups, monitor, None)))


def choose(
    criteria: Sequence[Float[np.ndarray, "setups n"]],
) -> Int64[np.ndarray, "n"]:
    """Return the best setup of every repetition.

    Args:
        criteria: values to minimize; each breaks ties of the previous ones, and the order of the setups all others.
    """
    return np.array([_order([values[:, place] for values in criteria])[0] for place in range(criteria[0].shape[1])])


def is_nested(unit: Unit, setups: Sequence[Setup]) -> bool:
    """Return whether clips that order the setups are test clips in other repetitions, so that selection is nested."""
    return unit in ("folds", "splits") and len(setups) > 1 and len(setups[0].repetitions) > 1


def expected(setups: Sequence[Setup], monitor: str, metric: str, unit: Unit) -> Expected | None:
    """Estimate the test metric of the chosen setup.

    Args:
        setups: setups on the same repetitions, the best first.
        monitor: metric that selects the setup.
        metric: test metric.
        unit: kind of repetition.

    Returns:
        None without a test.
    """
    nested = is_nested(unit, setups)
    n = len(setups[0].repetitions)
    if nested:
        # Break ties by name: the order of the rows depends on all repetitions, and so on test clips.
        setups = sorted(setups, key=lambda setup: setup.name)
    chosen = choose(_criteria(setups, monitor, n)).tolist() if nested else [0] * n
    found = _of_chosen(setups, chosen, metric)
    if found is None:
        return None
    counts = Counter(setups[place].name for place in chosen)
    recording = _of_chosen(setups, chosen, metric.replace("/", "/recording_"))
    return Expected(found, recording, n, nested, dict(counts.most_common()))


def _of_chosen(setups: Sequence[Setup], chosen: Sequence[int], column: str) -> Spread | None:
    taken = {place: (setups[place].means(column), setups[place].influence(column)) for place in sorted(set(chosen))}
    values, influences = [], list[Sparse]()
    for repetition, place in enumerate(chosen):
        means, influence = taken[place]
        if means is None:
            return None
        values.append(means[repetition])
        influences += [] if influence is None else [influence[repetition]]
    known = influences if len(influences) == len(values) else None
    ratio = float(np.mean([setups[place].ratio(column) for place in chosen]))
    return spread_of(column, np.array(values), known, ratio)


def _criteria(setups: Sequence[Setup], monitor: str, n: int | None) -> list[Float[np.ndarray, "setups *n"]]:
    """Return the values to minimize, for each of ``n`` repetitions or (None) for their mean."""
    part, _, name = monitor.partition("/")
    loss = f"{part}/recording_loss" if name.startswith("recording_") else f"{part}/loss"
    sign = 1 if setups[0].lower_is_better(monitor) else -1
    found = []
    for column, factor in ((monitor, sign), (loss, 1)):
        rows = [setup.averages(column) for setup in setups]
        means = [np.array(row) if n is not None else np.mean(row) for row in rows]
        found.append(np.nan_to_num(np.round(factor * np.array(means), DIGITS), nan=np.inf))
    for cost in ("macs", "parameters"):
        costs = np.array([np.inf if (value := setup.median(cost)) is None else value for setup in setups])
        found.append(np.repeat(costs[:, None], n, axis=1) if n is not None else costs)
    return found


def _order(criteria: Sequence[Float[np.ndarray, "setups"]]) -> Int64[np.ndarray, "setups"]:
    return np.lexsort(criteria[::-1])  # stable: the setup that was given first wins a tie
