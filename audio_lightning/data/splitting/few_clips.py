"""Suggestions for data with too few clips to be split: required number of clips, and settings that work."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audio_lightning.data.manifest import Manifest

if TYPE_CHECKING:
    from audio_lightning.data.splitting.splits import SplitPlan

Divide = Callable[[Manifest, "SplitPlan"], bool]
"""Tries to split a manifest by a plan; returns whether every part gets a clip of every class."""

FEWEST_A_CLASS = 10
"""Minimum number of clips of a class: with fewer, a split of 10 % has less than one clip."""

FEWEST_A_SPLIT = 5
"""Minimum number of clips of a class in one split for a meaningful figure: with fewer, one clip changes the recall of
the class by more than 20 percentage points."""

FRACTIONS = (0.2, 0.25, 0.3, 0.34)
MOST_NEEDED = 200
"""Number of clips per class below which the required number is searched."""


def too_few(manifest: Manifest, plan: "SplitPlan", method: str, divide: Divide) -> str:
    """Explain that there are too few clips, with settings that work; every setting in the text has been tried.

    Args:
        manifest: manifest that could not be split.
        plan: plan of the split.
        method: method that the plan selected.
        divide: tries to split a copy of a manifest.
    """
    grouped = method in ("grouped", "speaker", "train_only") and manifest.knows_groups
    unit = "groups" if grouped else "clips"
    counts = _counts(manifest, "group" if grouped else "path")
    fewest, most = int(counts.min()), int(counts.max())
    found = f"{fewest}{f' to {most}' if most > fewest else ''} {unit if most > 1 else unit[:-1]} per class"
    shares: tuple[float, ...] = (
        1 - plan.validation_fraction - plan.test_fraction,
        plan.validation_fraction,
        plan.test_fraction,
    )
    if method == "train_only":
        shares = (1 - plan.validation_fraction, plan.validation_fraction)
    remedies = [f"data.{line}" for line in _settings(manifest, plan, method, divide)]
    needed = next((count for count in range(1, MOST_NEEDED) if divide(_like(manifest, count), plan)), None)
    remedies[:0] = [f"record at least {needed} {unit} of every class"] if needed else []
    named = "/".join(f"{100 * share:.0f}" for share in shares)
    verb = "is" if most == 1 else "are"
    what = f"{found} {verb} too few for data.split={method} in shares of {named} %"
    return "; ".join([what, ", or ".join(remedies)]) if remedies else what


def _settings(manifest: Manifest, plan: "SplitPlan", method: str, divide: Divide) -> list[str]:
    """Settings that work: equal fractions, folds, or no validation."""
    if method == "train_only":
        return ["validation_fraction=0.0"]
    found = []
    for fraction in FRACTIONS:
        if divide(manifest, replace(plan, test_fraction=fraction, validation_fraction=fraction)):
            found.append(f"test_fraction={fraction} data.validation_fraction={fraction}")
            break
    folds = next((folds for folds in (5, 3) if divide(manifest, replace(plan, folds=folds))), None)
    found += [f"folds={folds}"] if folds else []
    if not found and divide(manifest, replace(plan, test_fraction=0.5, validation_fraction=0.0)):
        found.append("test_fraction=0.5 data.validation_fraction=0.0")
    return found


def _counts(manifest: Manifest, column: str) -> pd.Series:
    rows = manifest.table[["label", column]].drop_duplicates()
    return rows.groupby("label").size()


def _like(manifest: Manifest, count: int) -> Manifest:
    """Manifest with ``count`` clips of every label, each a recording of its own."""
    labels = np.repeat(manifest.table["label"].unique(), count)
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(len(labels))], "label": labels})
    if manifest.knows_groups:
        table["group"] = table["path"]
    return Manifest(Path(), table, manifest.classes, label_separator=manifest.label_separator)
