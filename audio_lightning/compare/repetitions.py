"""What repeats a setup: seeds, folds or splits, as the clips have it that the trials were tested on."""

import pandas as pd

from audio_lightning.compare.board import Unit
from audio_lightning.compare.trials import as_text


def unit_of(trials: pd.DataFrame) -> Unit:
    """Seeds where all trials are tested on the same clips, folds where no two divisions are, otherwise splits.

    Args:
        trials: finished ones on the same content; ``windows`` says how each of them cuts recordings.
    """
    if (trials["division"] == trials["division"].iloc[0]).all() or _tested_alike(trials):
        return "seeds"
    if "test_fold" not in trials or not (trials["split"] == "folds").all():
        return "splits"
    once = trials.groupby(trials["test_fold"].astype(float))["division"].nunique(dropna=False).max() == 1
    return "folds" if once else "splits"


def repetitions_of(trials: pd.DataFrame, unit: Unit) -> pd.Series:
    """What tells the repetitions of a setup apart: seeds, where each has one division; otherwise the divisions."""
    divisions = trials["division"].map(as_text)
    seeds = (trials["config.seed"] if "config.seed" in trials else trials["seed"]).map(as_text)
    alone = divisions.groupby([trials["setup"], seeds]).nunique().max() == 1
    return seeds if unit == "seeds" and alone else divisions


def redrawn_parts(trials: pd.DataFrame, unit: Unit) -> tuple[str, ...]:
    """The parts of the data that overlap from one repetition to the next without being the same."""
    if unit == "splits":
        return ("train", "validation", "test")
    if unit == "seeds" and trials.groupby("setup")["division"].nunique().max() > 1:
        return ("train", "validation")
    return ()


def _tested_alike(trials: pd.DataFrame) -> bool:
    """The same clips, as far as recordings are cut into the same windows, and otherwise the same recordings."""
    clips = trials.groupby("windows")["tested_clips"].nunique(dropna=False)
    known = bool(trials["tested_clips"].notna().all())
    return known and len(set(trials["tested_recordings"])) == 1 and bool(clips.max() == 1)
