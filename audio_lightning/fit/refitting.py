"""One model of each member, trained on all recordings, in place of the models of the folds (``refit=true``)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.fit.budget import Allocation, Workers
from audio_lightning.fit.state import Training
from audio_lightning.sweeps.epochs import is_annealed

ONE_DIVISION = 1.5
"""All clips / those trained on, where there are no folds, about."""

EVERYTHING = (
    "data.split=train_only",
    "data.validation_fraction=0.0",
    "data.folds=null",
    "data.test_fold=null",
    "data.validation_fold=null",
)
"""Overrides of a training on all clips."""

WITHOUT_TIME = "refit=true: {needed} were needed and {left} left, so the file holds the models of the folds."
FAILED = "refit=true: {why}, so the file holds the models of the folds."
DONE = (
    "The file holds one model of each member, trained once on all recordings ({epochs}). The figure is that of the "
    "cross-validation, whose models were trained on fewer of them."
)
"""What is said of a refit, on the page, too."""


@dataclass(frozen=True)
class Again:
    """The training of a member on all clips: its epochs, and about how many seconds it takes."""

    epochs: int
    seconds: float


def refitted(
    planned: Sequence[Training], finished: Mapping[str, Sequence[TrialFolder]], failures: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """Checkpoints of the members that were trained on all recordings, and what there is to say.

    None of them where any failed or was stopped by the time: members are not mixed.
    """
    models, epochs = {}, []
    for one in planned:
        if one.name not in finished:
            return {}, FAILED.format(why=f"{one.name} failed ({failures.get(one.name)})")
        (run,) = finished[one.name]
        trained = int(run.read_metrics()["epochs"])
        if f"trainer.max_epochs={trained}" not in one.lines:
            return {}, FAILED.format(why=f"there was time for {trained} epochs of {one.name} only")
        models[one.name] = str(run.best)
        epochs.append(f"{one.name}: {trained} epochs")
    return models, DONE.format(epochs=", ".join(epochs))


def share_of_refit(allocation: Allocation, step_seconds: Mapping[str, float], *, workers: Workers, folds: int) -> float:
    """Share of the time of a pass and its refit that the refit takes, where the slowest candidates are selected.

    Args:
        allocation: of the pass.
        step_seconds: of every candidate.
        workers: that train.
        folds: that the data has; a fold's training lacks those that test and that validate it.
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
    """How long a candidate is trained on all clips, after its trainings on the folds.

    A schedule that ends at a learning rate of nought is followed as far as the folds were; otherwise there are as many
    epochs as served best, in the median over the folds.
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
