"""Data set fingerprint: the measurements and counts that a plan is derived from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import SPLITS
from audio_lightning.planning.rules import Facts

PERCENTILES = (5, 50, 95)


@dataclass(frozen=True)
class Property:
    """One property of a data set.

    Attributes:
        name: the property, such as ``sample rates``.
        value: its value as text, with units.
        uses: keys of the configuration that depend on the property; empty if it is informative only.
    """

    name: str
    value: str
    uses: tuple[str, ...] = ()


def fingerprint(facts: Facts) -> list[Property]:
    """List the properties of the recordings, then those of their labels.

    Raises:
        DataError: see :attr:`Facts.divided`.
    """
    manifest = facts.divided
    table = manifest.table[~manifest.table["background"]]
    paths, measured = _measured(facts)
    measured = measured[measured["seconds"] > 0]
    found = [
        Property("recordings", f"{len(paths):,}" + _unreadable(len(paths) - len(measured))),
        *(_of_recordings(measured) if len(measured) else []),
    ]
    if len(table) > len(paths):
        lengths = facts.datamodule.measure_stretches(table).length
        found.append(
            Property("parts of recordings", f"{len(table):,}, {_spread(lengths, 's', 2)}", ("data.clip_seconds",))
        )
    counts = [sum(manifest.class_counts(split)[place] for split in SPLITS) for place in range(len(manifest.classes))]
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    found += [
        Property("classes", f"{len(counts)}: {', '.join(manifest.classes[:8])}" + (", ..." if len(counts) > 8 else "")),
        Property(
            "recordings per class",
            f"{counts[least]:,} ({manifest.classes[least]}) to {counts[most]:,} ({manifest.classes[most]})"
            if counts[least] < counts[most]
            else f"{counts[least]:,} each",
            ("data.sampling",),
        ),
    ]
    if manifest.label_separator is not None:
        labels = [len(manifest.labels(label)) for label in manifest.table["label"]]
        found.append(Property("labels per clip", f"{min(labels)} to {max(labels)}, mean {np.mean(labels):.2f}"))
    groups = manifest.table["group"]
    known = (
        f"{groups.nunique():,}, of up to {groups.value_counts().max():,} clips"
        if manifest.knows_groups
        else "none known: each recording is a group of its own"
    )
    found.append(Property("groups that stay in one split", known))
    folds = sorted({int(fold) for fold in manifest.table["fold"] if fold >= 0})
    if folds:
        found.append(Property("folds", ", ".join(map(str, folds))))
    divided = ", ".join(f"{split} {len(manifest.rows(split)):,}" for split in SPLITS)
    found.append(Property("split", divided))
    found.append(Property("training clips", f"{facts.train_clips:,}", ("data.batch_size", "trainer.max_epochs")))
    return found


def _of_recordings(measured: Shaped[np.ndarray, "recordings"]) -> list[Property]:
    rates, counts = np.unique(measured["sample_rate"], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    silent = measured["lead_seconds"] + measured["trail_seconds"]
    total = measured["seconds"].sum()
    return [
        Property("total length", f"{total / 3600:.2f} h" if total >= 3600 else f"{total / 60:.1f} min"),
        Property(
            "length", _spread(measured["seconds"], "s", 2), ("data.clip_seconds", "data.hop_seconds", "data.padding")
        ),
        Property(
            "silence at the ends", f"{silent.sum() / total:.1%} of all", ("data.clip_seconds", "data.hop_seconds")
        ),
        Property(
            "sample rates",
            ", ".join(f"{rates[place]:,} Hz ({counts[place]:,})" for place in order[:5]),
            ("data.sample_rate",),
        ),
        Property("bandwidth in use", _spread(measured["bandwidth"], "Hz", 0), ("data.sample_rate",)),
        Property(
            "energy above 10 kHz", f"{np.median(measured['high_share']):.1%} in the median", ("data.sample_rate",)
        ),
        Property("loudness", _spread(measured["loudness"], "dB of full scale", 0)),
        Property("loud over quiet moments", _spread(measured["range"], "dB", 0)),
        Property("level changes", _spread(measured["unsteadiness"], "dB (standard deviation)", 1)),
        Property("pitch strength", _spread(measured["pitch"], "of 1", 2)),
    ]


def _spread(values: Sequence[float] | np.ndarray, unit: str, digits: int) -> str:
    low, middle, high = (f"{value:,.{digits}f}" for value in np.percentile(values, PERCENTILES))
    return f"median {middle} {unit}; nine of ten between {low} and {high}"


def unreadable(facts: Facts) -> list[str]:
    """Return the paths of recordings that cannot be read.

    Raises:
        DataError: see :attr:`Facts.divided`.
    """
    paths, measured = _measured(facts)
    return [path for path, seconds in zip(paths, measured["seconds"]) if seconds == 0]


def require_sound(facts: Facts) -> None:
    """Check that something can be learned from the recordings.

    Raises:
        DataError: none of them can be read, or all of them are silent.
    """
    root, (_, measured) = facts.divided.root, _measured(facts)
    readable = measured[measured["seconds"] > 0]
    if not len(readable):
        raise DataError(
            f"{root}: none of the {len(measured):,} recordings can be read; audio-lightning check lists why"
        )
    if not (readable["lead_seconds"] + readable["trail_seconds"] < readable["seconds"]).any():
        raise DataError(f"{root}: all {len(readable):,} recordings are silent; give recordings with sound")


def _measured(facts: Facts) -> tuple[list[str], Shaped[np.ndarray, "recordings"]]:
    """Return the paths and the measurements of all recordings."""
    table = facts.divided.table
    paths = table.loc[~table["background"], "path"].unique().tolist()
    whole = pd.DataFrame({"path": paths, "start_seconds": 0.0, "stop_seconds": np.nan})
    return paths, facts.datamodule.measure_stretches(whole).measured


def _unreadable(count: int) -> str:
    return f", {count:,} of them unreadable" if count else ""
