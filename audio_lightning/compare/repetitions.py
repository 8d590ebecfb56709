"""Infer the repetition unit of a sweep (seed, fold or split) from the clips that its trials are tested on."""

import pandas as pd

from audio_lightning.compare.board import Unit
from audio_lightning.compare.trials import as_text

Redrawn = tuple[str, ...]
"""Parts of the data, such as ``("train", "validation")``."""


def unit_of(trials: pd.DataFrame) -> Unit:
    """Seeds where all trials are tested on the same clips, folds where no two divisions are, otherwise splits.

    Args:
        trials: finished ones on the same content; ``windows`` says how each of them cuts recordings.
    """
    if (trials["division"] == trials["division"].iloc[0]).all() or _tested_alike(trials):
        return "seeds"
    if not {"test_fold", "split"} <= set(trials) or not (trials["split"] == "folds").all():
        return "splits"
    once = trials.groupby(trials["test_fold"].astype(float))["division"].nunique(dropna=False).max() == 1
    return "folds" if once else "splits"


def repetitions_of(trials: pd.DataFrame, unit: Unit) -> pd.Series:
    """What tells the repetitions of a setup apart: seeds, where each has one division; otherwise the divisions."""
    divisions = trials["division"].map(as_text)
    seeds = seeds_of(trials)
    alone = divisions.groupby([trials["setup"], seeds]).nunique().max() == 1
    return seeds if unit == "seeds" and alone else divisions


def seeds_of(trials: pd.DataFrame) -> pd.Series:
    """The seed of every trial, as text."""
    return (trials["config.seed"] if "config.seed" in trials else trials["seed"]).map(as_text)


def redrawn_parts(trials: pd.DataFrame, unit: Unit) -> Redrawn:
    """The parts of the data that differ between repetitions that train on overlapping clips."""
    if unit in ("folds", "splits"):
        return ("train", "validation", "test")
    return ("train", "validation") if validation_redrawn(trials) else ()


def validation_redrawn(trials: pd.DataFrame) -> bool:
    """Whether trials of one setup that are tested on the same clips differ in those for training and validation."""
    return bool(trials.groupby("setup")["division"].nunique().max() > 1)


def _tested_alike(trials: pd.DataFrame) -> bool:
    """The same clips, as far as recordings are cut into the same windows, and otherwise the same recordings."""
    clips = trials.groupby("windows")["tested_clips"].nunique(dropna=False)
    known = bool(trials["tested_clips"].notna().all())
    return known and len(set(trials["tested_recordings"])) == 1 and bool(clips.max() == 1)
