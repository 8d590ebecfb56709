"""Survey what there is to fit: the data, its folds, and the candidates."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from audio_lightning.config import as_plain, user_extensions
from audio_lightning.config.targets import resolve, split_node
from audio_lightning.core.errors import ConfigError
from audio_lightning.data.manifest import Manifest
from audio_lightning.features.base import FrontEnd
from audio_lightning.fit.plan import make_plan, write_plan
from audio_lightning.fit.survey import Survey, Surveyed
from audio_lightning.fit.timing import Untimed
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.models.pretrained.published_files import PublishedFile
from audio_lightning.models.pretrained.registry import BACKBONES

MOST_FOLDS = 8
"""Folds that are made: each network then trains on three quarters of the clips, an eighth chooses the epoch, and an
eighth is answered."""

FEWEST_FOLDS = 3

RARE = 0.1
"""Share of the clips that may be of classes with fewer groups than folds, so that a few rare classes do not leave all
others with fewer folds, and so with smaller training parts."""

FEWEST_OF_DATA = 5
"""Folds of the data itself from which they are used: of fewer, one to test and one to validate leave too little."""

OWN_KEYS = ("trainer.max_epochs",)
"""Keys of a plan that a fit sets itself."""

OF_ONE_TRAINING = ("split", "training clips")
"""Properties of a plan that are those of a single training, and of no fold."""

NAMED = 5
"""Names in a note: of recordings that cannot be read (``audio-lightning check`` has all), of classes."""


def survey(
    lines: Sequence[str],
    candidates: Mapping[str, Sequence[str]],
    *,
    folder: Path,
    config_dir: str | None = None,
) -> tuple[Survey, dict[str, Untimed]]:
    """Measure the recordings, and find the folds and the candidates that can be tried; for a process of its own.

    Args:
        lines: overrides of every training, with quoted paths.
        candidates: overrides of each, by name.
        folder: of the fit, for the plan.
        config_dir: folder of ``--config-dir``.

    Returns:
        The survey, without times, and what is to be timed, by name.

    Raises:
        ConfigError: a mistake in what was asked for, or no candidate that can be tried.
        DataError: recordings that are no data set of this kind, or cannot be divided.
    """
    found: dict[str, Surveyed] = {}
    untimed: dict[str, Untimed] = {}
    reasons, absent = list[ConfigError](), list[str]()
    first, on_fold, published = None, None, False
    with user_extensions(lines, config_dir):
        for name, own in candidates.items():
            if (weights := absent_weights(own)) is not None:
                absent.append(weights)
                continue
            try:
                if first is None:
                    first = make_plan([*lines, *own], timed=False)
                    folds, origin, notes = _folds(first.manifest, lines)
                # As it is trained on the folds after the first one: on all clips but those that are tested.
                plan = make_plan([*lines, *own, *folds[0], "data.train_on_validation=true"], timed=False)
            except ConfigError as error:
                reasons.append(ConfigError(str(error)))  # one that goes from process to process
                found[name] = Surveyed(name, 0.0, 1, str(error))
                continue
            frozen = is_embedding(plan.config)
            published |= frozen or plan.config.model.get("pretrained") is not None
            on_fold = on_fold or plan
            found[name] = Surveyed(plan.title, 0.0, plan.steps_an_epoch, frozen=frozen)
            untimed[name] = Untimed(as_plain(plan.config), plan.task.to_dict(), frozen)
    if first is None or on_fold is None:
        missing = ConfigError(f"weights that are not on this machine: {', '.join(absent)}")
        raise next(iter(reasons), missing)
    write_plan(first, folder / "plan")
    manifest = first.manifest
    if count := len(first.unreadable):
        named = ", ".join(first.unreadable[:NAMED]) + (", ..." if count > NAMED else "")
        s, are = ("", "is") if count == 1 else ("s", "are")
        notes.append(f"{count:,} recording{s} cannot be read and {are} left out: {named}")
    if absent:
        notes.append(f"weights that are not on this machine, and so are not tried: {', '.join(absent)}")
    if not published:
        notes.append("no candidate begins with published weights: all are trained from scratch")
    if first.split_method == "official":
        notes.append(
            "the split of the data is not used: every clip is answered by networks that were not trained on it"
        )
    surveyed = Survey(
        properties=[
            {"name": row.name, "value": row.value, "uses": [key for key in row.uses if key not in OWN_KEYS]}
            for row in first.properties
            if row.name not in OF_ONE_TRAINING
        ],
        choices=[
            {"key": key, "value": value, "why": why}
            for key, (value, why) in on_fold.choices.items()
            if key not in OWN_KEYS
        ],
        machine=first.machine,
        candidates=found,
        folds=folds,
        fold_origin=origin,
        classes=list(manifest.classes),
        multilabel=manifest.label_separator is not None,
        recordings=manifest.table["path"].nunique(),
        clips=len(manifest),
        groups=manifest.table["group"].nunique() if manifest.knows_groups else None,
        notes=[*manifest.notes, *notes],
    )
    return surveyed, untimed


def absent_weights(own: Sequence[str]) -> str | None:
    """The weights that a candidate would have to download first, for a note; None where it need not."""
    chosen = dict(line.split("=", 1) for line in own)
    name = chosen.get("feature.backbone", "")
    network = BACKBONES.get(name)
    if network is None or not isinstance(network.file, PublishedFile) or network.file.is_here:
        return None
    return f"{name} ({network.file.megabytes} MB from {network.file.host})"


def is_embedding(config: DictConfig) -> bool:
    """Whether the feature of a configuration is what a published network makes of a clip."""
    target, _ = split_node(config.feature, where="feature")
    return issubclass(resolve(target, FrontEnd, where="feature"), Embedding)


def _folds(manifest: Manifest, lines: Sequence[str]) -> tuple[list[list[str]], str, list[str]]:
    """Overrides that test each fold, where the folds come from, and notes."""
    typed = {line.partition("=")[0] for line in lines}
    own = sorted({int(fold) for fold in manifest.table["fold"] if fold >= 0})
    if len(own) >= FEWEST_OF_DATA and not typed & {"data.split", "data.folds"}:
        return [["data.split=folds", f"data.test_fold={fold}"] for fold in own], "those of the data", []
    if "data.folds" in typed:
        number = int(next(line for line in lines if line.startswith("data.folds=")).partition("=")[2])
        return [[f"data.test_fold={fold}"] for fold in range(1, number + 1)], "as typed", []
    notes = []
    if own:
        notes.append(
            f"the data has {len(own)} folds, and without two of them little is left to train on: others are made"
        )
    groups = _groups_of_classes(manifest)
    if groups["groups"].max() < FEWEST_FOLDS:
        notes.append(f"no class has {FEWEST_FOLDS} groups, so there is one division of the clips, and no folds")
        return [[]], "one division", notes
    number = max(count for count in range(FEWEST_FOLDS, MOST_FOLDS + 1) if count == FEWEST_FOLDS or _few(groups, count))
    if rare := [str(name) for name in groups.index[groups["groups"] < number]]:
        named = ", ".join(rare[:NAMED]) + (", ..." if len(rare) > NAMED else "")
        notes.append(
            f"{len(rare)} of {len(groups)} classes have fewer than {number} groups, so that folds can be without any "
            f"clip of them to train on or to test: {named}"
        )
    kept = "groups stay together" if manifest.knows_groups else "nothing is known of groups"
    return [[f"data.folds={number}", f"data.test_fold={fold}"] for fold in range(1, number + 1)], f"made, {kept}", notes


def _groups_of_classes(manifest: Manifest) -> pd.DataFrame:
    """Groups and clips of every class; clips of several labels count as one class."""
    table = manifest.table[~manifest.table["background"]]
    group = table["group"].where(table["group"] != "", pd.Series(np.arange(len(table)).astype(str), index=table.index))
    labels = table["label"] if manifest.label_separator is None else pd.Series("", index=table.index)
    classes = group.groupby(labels)
    return pd.DataFrame({"groups": classes.nunique(), "clips": classes.size()})


def _few(groups: pd.DataFrame, folds: int) -> bool:
    """Whether classes that cannot be in every fold hold few of the clips."""
    return bool(groups["clips"][groups["groups"] < folds].sum() <= RARE * groups["clips"].sum())
