"""Remedies for data with too few clips to be split: how many are needed, or which settings would do."""

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
"""Tries to split a manifest by a plan; false where it cannot be."""

FEWEST_A_CLASS = 10
"""Clips of a class below which no usual division leaves it enough: 10 % of fewer is not one clip."""

FEWEST_A_SPLIT = 5
"""Clips of a class in one split below which its share in a figure is a matter of chance: one clip moves its recall by
more than 20 points."""

FRACTIONS = (0.2, 0.25, 0.3, 0.34)
MOST_NEEDED = 200


def too_few(manifest: Manifest, plan: "SplitPlan", method: str, divide: Divide) -> str:
    """A sentence on how many clips there are and what would do; every setting that it names has been tried.

    Args:
        manifest: that could not be split.
        plan: that it was to be split by.
        method: what the plan came to.
        divide: splits a copy.
    """
    grouped = method in ("grouped", "speaker", "train_only") and manifest.knows_groups
    unit = "groups" if grouped else "clips"
    counts = _counts(manifest, "group" if grouped else "path")
    fewest, most = int(counts.min()), int(counts.max())
    found = f"{fewest}{f' to {most}' if most > fewest else ''} {unit if most > 1 else unit[:-1]} a class"
    shares: tuple[float, ...] = (
        1 - plan.validation_fraction - plan.test_fraction,
        plan.validation_fraction,
        plan.test_fraction,
    )
    if method == "train_only":
        shares = (1 - plan.validation_fraction, plan.validation_fraction)
    remedies = [f"data.{line}" for line in _settings(manifest, plan, method, divide)]
    needed = next((count for count in range(1, MOST_NEEDED) if divide(_like(manifest, count), plan)), None)
    remedies[:0] = [f"record {needed} {unit} of every class at least"] if needed else []
    named = "/".join(f"{100 * share:.0f}" for share in shares)
    verb = "is" if most == 1 else "are"
    what = f"{found} {verb} too few for data.split={method} in shares of {named} %"
    return "; ".join([what, ", or ".join(remedies)]) if remedies else what


def _settings(manifest: Manifest, plan: "SplitPlan", method: str, divide: Divide) -> list[str]:
    """Settings that would do: shares of the same size, folds, or no validation."""
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
    """As many clips of every label as given, each a recording of its own."""
    labels = np.repeat(manifest.table["label"].unique(), count)
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(len(labels))], "label": labels})
    if manifest.knows_groups:
        table["group"] = table["path"]
    return Manifest(Path(), table, manifest.classes, label_separator=manifest.label_separator)
