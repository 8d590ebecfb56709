"""Refit of ensemble members (``refit=true``): one model each, trained on all recordings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.fit.budget import Allocation, Workers
from audio_lightning.fit.state import Training
from audio_lightning.sweeps.epochs import is_annealed

ONE_DIVISION = 1.5
"""Approximate ratio of all clips to training clips without folds."""

EVERYTHING = (
    "data.split=train_only",
    "data.validation_fraction=0.0",
    "data.folds=null",
    "data.test_fold=null",
    "data.validation_fold=null",
)
"""Overrides of a training on all clips."""

WITHOUT_TIME = "refit=true: it needs {needed}, but {left} are left, so the file holds the models of the folds."
FAILED = "refit=true: {why}, so the file holds the models of the folds."
DONE = (
    "The file holds one model of each member, trained once on all recordings ({epochs}). The expected metric is that "
    "of the cross-validation, whose models were trained on fewer recordings."
)
"""Notes about a refit, for the terminal and the page."""


@dataclass(frozen=True)
class Again:
    """Planned training of a member on all clips: number of epochs and estimated seconds."""

    epochs: int
    seconds: float


def refitted(
    planned: Sequence[Training], finished: Mapping[str, Sequence[TrialFolder]], failures: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """Return the checkpoints of the members trained on all recordings, and a note about the refit.

    If any member failed or reached its time limit, no checkpoint is returned, because the two kinds are not mixed.
    """
    models, epochs = {}, []
    for one in planned:
        if one.name not in finished:
            return {}, FAILED.format(why=f"{one.name} failed ({failures.get(one.name)})")
        (run,) = finished[one.name]
        trained = int(run.read_metrics()["epochs"])
        if f"trainer.max_epochs={trained}" not in one.lines:
            return {}, FAILED.format(why=f"{one.name} had time for {trained} epochs only")
        models[one.name] = str(run.best)
        epochs.append(f"{one.name}: {trained} epochs")
    return models, DONE.format(epochs=", ".join(epochs))


def share_of_refit(allocation: Allocation, step_seconds: Mapping[str, float], *, workers: Workers, folds: int) -> float:
    """Return the share of the refit in the time of a pass and its refit, if the slowest candidates are selected.

    Args:
        allocation: trainings of the pass.
        step_seconds: seconds per step of every candidate.
        workers: workers that run the trainings.
        folds: number of folds of the data; two of them, for test and validation, are not trained on in a pass.
    """
    times = [step_seconds[name] for name in allocation.candidates]
    slowest = sorted(times, reverse=True)[: allocation.survivors]
    trainings = sum(times) + (allocation.folds - 1) * sum(slowest)
    larger = folds / (folds - 2) if folds > 2 else ONE_DIVISION
    again = larger * max(
        sum(slowest), math.ceil(len(slowest) / workers.number) * workers.number * max(slowest) / len(slowest)
    )
    return again / (trainings + again)


def plan_again(runs: Sequence[TrialFolder]) -> Again:
    """Plan the training of a candidate on all clips, from its trainings on the folds.

    The number of epochs is the median over the folds: of the trained epochs with an annealed schedule, otherwise of the
    best epochs.
    """
    metrics = [run.read_metrics() for run in runs]
    counted = "epochs" if is_annealed(runs[0].read_config()) else "best_epoch"
    epochs = max(1, round(median(int(found[counted]) for found in metrics)))
    taken = []
    for run, found in zip(runs, metrics):
        trained, *others = (int(found.get(f"num_clips/{part}") or 0) for part in ("train", "validation", "test"))
        larger = (trained + sum(others)) / max(1, trained)
        taken.append(run.read_status().seconds * larger * epochs / max(1, int(found["epochs"])))
    return Again(epochs, fmean(taken))
