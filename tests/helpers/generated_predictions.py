"""Simulated out-of-fold predictions, in memory and in folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sweep_folders import make_sweep, trial

from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.files import write_csv
from audio_lightning.fit.out_of_fold import OutOfFold
from audio_lightning.run_folder import RunFolder


def generated(
    signals: Sequence[float],
    clips: int = 200,
    *,
    classes: int = 4,
    size: int = 1,
    within: float = 0.0,
    multilabel: bool = False,
    seed: int = 0,
) -> OutOfFold:
    """Predictions from normal logits.

    Args:
        signals: for every candidate, what the logit of the label has more than the others; 0: it guesses.
        clips: number of clips.
        classes: number of classes.
        size: clips a group, which have their label in common.
        within: share of the variance of logits that the clips of a group have in common.
        multilabel: every class is a label of a quarter of the groups.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    groups = clips // size
    if multilabel:
        targets = (rng.random((groups, classes)) < 0.25).repeat(size, axis=0)
    else:
        targets = np.eye(classes, dtype=bool)[rng.integers(classes, size=groups)].repeat(size, axis=0)
    shape = (len(signals), groups, classes)
    common = rng.normal(size=shape).repeat(size, axis=1)
    logits = np.sqrt(within) * common + np.sqrt(1 - within) * rng.normal(size=(len(signals), clips, classes))
    logits += np.array(signals)[:, None, None] * targets
    powers = np.exp(logits)
    probabilities = powers / (1 + powers) if multilabel else powers / powers.sum(axis=-1, keepdims=True)
    names = tuple("abcdefghijklmnopqrstuvwxyz"[:classes])
    labels = ["|".join(name for name, is_one in zip(names, row) if is_one) for row in targets]
    table = pd.DataFrame(
        {
            "path": [f"{place:05}.wav" for place in range(clips)],
            "start_seconds": 0.0,
            "end_seconds": 1.0,
            "group": [f"group {place // size:05}" for place in range(clips)],
            "label": labels,
        }
    )
    candidates = tuple(f"candidate {place:02}" for place in range(len(signals)))
    return OutOfFold(
        candidates, names, multilabel, False, table, targets, probabilities.astype(np.float32), clips, clips
    )


def write_run(
    folder: Path, predictions: OutOfFold, candidate: int = 0, clips: slice = slice(None), *, file: str = "predictions"
) -> RunFolder:
    """Write the test predictions of one run in the format of a training.

    Args:
        folder: of the run.
        predictions: to take them from.
        candidate: position of the candidate.
        clips: test clips of the run.
        file: ``predictions``, or ``recordings`` for those of whole recordings.
    """
    run = RunFolder(folder)
    table, probabilities = predictions.clips[clips], predictions.probabilities[candidate][clips]
    place = ["windows"] if file == "recordings" else ["start_seconds", "end_seconds"]
    columns = ["path", "group", *place, "label", "predicted"]
    rows = []
    for row, chances in zip(table.itertuples(), probabilities):
        guessed = [name for name, chance in zip(predictions.classes, chances) if chance >= 0.5]
        predicted = "|".join(guessed) if predictions.multilabel else predictions.classes[int(chances.argmax())]
        middle = [3] if file == "recordings" else [f"{row.start_seconds:.3f}", f"{row.end_seconds:.3f}"]
        rows.append([row.path, row.group, *middle, row.label, predicted, *(f"{chance:.8f}" for chance in chances)])
    header = [*columns, *(f"probability {name}" for name in predictions.classes)]
    write_csv(getattr(run, file), header, rows)
    measures = ["class", "average_precision"] if predictions.multilabel else ["class", "recall"]
    write_csv(run.per_class, measures, [[name, 0.5] for name in predictions.classes])
    return run


def write_sweep(folder: Path, predictions: OutOfFold, folds: int = 4) -> SweepFolder:
    """Write a sweep of every candidate over the folds, which split the clips in order."""
    clips = len(predictions.clips)
    ends = np.linspace(0, clips, folds + 1).astype(int)
    counts = {"num_clips/train": clips - clips // folds, "num_clips/validation": 0, "num_clips/test": clips // folds}
    trials = [
        trial(model=f"m{candidate}", fold=fold + 1, metrics=counts)
        for candidate in range(len(predictions.candidates))
        for fold in range(folds)
    ]
    sweep = make_sweep(folder, trials, axes=["model", "data.test_fold"])
    for number, (run, _) in enumerate(sweep.folders()):
        candidate, fold = divmod(number, folds)
        write_run(run.path, predictions, candidate, slice(ends[fold], ends[fold + 1]))
    return sweep
