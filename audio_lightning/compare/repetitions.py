"""Infer the repetition unit of a sweep (seed, fold or split) from the clips that its trials are tested on."""

import pandas as pd

from audio_lightning.compare.board import Unit
from audio_lightning.compare.trials import as_text

Redrawn = tuple[str, ...]
"""Splits that differ between repetitions, such as ``("train", "validation")``."""


def unit_of(trials: pd.DataFrame) -> Unit:
    """Infer the kind of repetition: seeds (same test clips), folds (disjoint test clips) or splits (overlapping).

    Args:
        trials: finished trials on the same content; the column ``windows`` describes their windows.
    """
    if (trials["division"] == trials["division"].iloc[0]).all() or _tested_alike(trials):
        return "seeds"
    if not {"test_fold", "split"} <= set(trials) or not (trials["split"] == "folds").all():
        return "splits"
    once = trials.groupby(trials["test_fold"].astype(float))["division"].nunique(dropna=False).max() == 1
    return "folds" if once else "splits"


def repetitions_of(trials: pd.DataFrame, unit: Unit) -> pd.Series:
    """Return the repetition of every trial: its seed if each seed has one split, otherwise its split."""
    divisions = trials["division"].map(as_text)
    seeds = seeds_of(trials)
    alone = divisions.groupby([trials["setup"], seeds]).nunique().max() == 1
    return seeds if unit == "seeds" and alone else divisions


def seeds_of(trials: pd.DataFrame) -> pd.Series:
    """Return the seed of every trial as text."""
    return (trials["config.seed"] if "config.seed" in trials else trials["seed"]).map(as_text)


def redrawn_parts(trials: pd.DataFrame, unit: Unit) -> Redrawn:
    """Return the splits that differ between repetitions whose training clips overlap."""
    if unit in ("folds", "splits"):
        return ("train", "validation", "test")
    return ("train", "validation") if validation_redrawn(trials) else ()


def validation_redrawn(trials: pd.DataFrame) -> bool:
    """Return whether trials of one setup share the test clips but differ in training and validation clips."""
    return bool(trials.groupby("setup")["division"].nunique().max() > 1)


def _tested_alike(trials: pd.DataFrame) -> bool:
    """Return whether all trials have the same test recordings, and trials with equal windows the same test clips."""
    clips = trials.groupby("windows")["tested_clips"].nunique(dropna=False)
    known = bool(trials["tested_clips"].notna().all())
    return known and len(set(trials["tested_recordings"])) == 1 and bool(clips.max() == 1)
