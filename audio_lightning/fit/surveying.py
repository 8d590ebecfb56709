"""Make the survey of a fit: the data, its folds, and the candidates."""

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
"""Maximum number of folds that a fit makes. With eight folds, each network trains on three quarters of the clips; one
eighth chooses the epoch, and one eighth is tested."""

FEWEST_FOLDS = 3

RARE = 0.1
"""Maximum share of clips in classes with fewer groups than folds. A few rare classes thus do not reduce the number of
folds, which would make all training sets smaller."""

FEWEST_OF_DATA = 5
"""Minimum number of folds of the data set to use them; with fewer, too little is left to train on."""

OWN_KEYS = ("trainer.max_epochs",)
"""Keys of a plan that a fit sets itself."""

OF_ONE_TRAINING = ("split", "training clips")
"""Properties of a plan that describe a single training and do not apply to folds."""

NAMED = 5
"""Maximum number of names in a note; ``audio-lightning check`` lists all unreadable recordings."""


def survey(
    lines: Sequence[str],
    candidates: Mapping[str, Sequence[str]],
    *,
    folder: Path,
    config_dir: str | None = None,
) -> tuple[Survey, dict[str, Untimed]]:
    """Measure the recordings, and find the folds and the possible candidates. Call it in a separate process.

    Args:
        lines: overrides of every training, with quoted paths.
        candidates: overrides of each candidate by name.
        folder: folder of the fit, into which the plan is written.
        config_dir: folder of ``--config-dir``.

    Returns:
        The survey without times, and the candidates to time by name.

    Raises:
        ConfigError: a mistake in the overrides, or no possible candidate.
        DataError: the recordings are not a data set of this kind, or cannot be split.
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
                # As on the folds after the first one: trained on all clips except the test clips.
                plan = make_plan([*lines, *own, *folds[0], "data.train_on_validation=true"], timed=False)
            except ConfigError as error:
                reasons.append(ConfigError(str(error)))  # a plain error that can be passed between processes
                found[name] = Surveyed(name, 0.0, 1, str(error))
                continue
            frozen = is_embedding(plan.config)
            published |= frozen or plan.config.model.get("pretrained") is not None
            on_fold = on_fold or plan
            found[name] = Surveyed(plan.title, 0.0, plan.steps_an_epoch, frozen=frozen)
            untimed[name] = Untimed(as_plain(plan.config), plan.task.to_dict(), frozen)
    if first is None or on_fold is None:
        missing = ConfigError(f"candidates: all need weights that are not on this machine: {', '.join(absent)}")
        raise next(iter(reasons), missing)
    write_plan(first, folder / "plan")
    manifest = first.manifest
    if count := len(first.unreadable):
        named = ", ".join(first.unreadable[:NAMED]) + (", ..." if count > NAMED else "")
        s, are = ("", "is") if count == 1 else ("s", "are")
        notes.append(f"{count:,} recording{s} cannot be read and {are} left out: {named}")
    if absent:
        notes.append(f"not tried, because the weights are not on this machine: {', '.join(absent)}")
    if not published:
        notes.append("no candidate begins with published weights: all are trained from scratch")
    if first.split_method == "official":
        notes.append("the official split of the data is not used: cross-validation tests every clip instead")
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
        recordings=manifest.table["path"].nunique() - len(first.unreadable),
        clips=int((~manifest.table["path"].isin(first.unreadable)).sum()),
        groups=manifest.table["group"].nunique() if manifest.knows_groups else None,
        notes=[*manifest.notes, *notes],
    )
    return surveyed, untimed


def absent_weights(own: Sequence[str]) -> str | None:
    """Return the weights that a candidate would have to download, as text for a note; None if none are missing."""
    chosen = dict(line.split("=", 1) for line in own)
    name = chosen.get("feature.backbone", "")
    network = BACKBONES.get(name)
    if network is None or not isinstance(network.file, PublishedFile) or network.file.is_here:
        return None
    return f"{name} ({network.file.megabytes} MB from {network.file.host})"


def is_embedding(config: DictConfig) -> bool:
    """Return whether the feature of a configuration is the embedding of a pretrained network."""
    target, _ = split_node(config.feature, where="feature")
    return issubclass(resolve(target, FrontEnd, where="feature"), Embedding)


def _folds(manifest: Manifest, lines: Sequence[str]) -> tuple[list[list[str]], str, list[str]]:
    """Return the overrides that test each fold, the origin of the folds, and notes."""
    typed = {line.partition("=")[0] for line in lines}
    own = sorted({int(fold) for fold in manifest.table["fold"] if fold >= 0})
    if len(own) >= FEWEST_OF_DATA and not typed & {"data.split", "data.folds"}:
        return [["data.split=folds", f"data.test_fold={fold}"] for fold in own], "those of the data", []
    if "data.folds" in typed:
        number = int(next(line for line in lines if line.startswith("data.folds=")).partition("=")[2])
        return [[f"data.test_fold={fold}"] for fold in range(1, number + 1)], "as typed", []
    notes = []
    if own:
        notes.append(f"the data has {len(own)} folds, too few to train without two of them: other folds are made")
    groups = _groups_of_classes(manifest)
    if groups["groups"].max() < FEWEST_FOLDS:
        notes.append(f"no class has {FEWEST_FOLDS} groups, so there is a single split of the clips and no folds")
        return [[]], "one division", notes
    number = max(count for count in range(FEWEST_FOLDS, MOST_FOLDS + 1) if count == FEWEST_FOLDS or _few(groups, count))
    if rare := [str(name) for name in groups.index[groups["groups"] < number]]:
        named = ", ".join(rare[:NAMED]) + (", ..." if len(rare) > NAMED else "")
        notes.append(
            f"{len(rare)} of {len(groups)} classes have fewer than {number} groups, so some folds may have no training "
            f"or test clips of them: {named}"
        )
    kept = "the clips of a group" if manifest.knows_groups else "the windows of a recording"
    return (
        [[f"data.folds={number}", f"data.test_fold={fold}"] for fold in range(1, number + 1)],
        f"made by the program; {kept} stay together",
        notes,
    )


def _groups_of_classes(manifest: Manifest) -> pd.DataFrame:
    """Return the number of groups and clips of every class; all clips of a multi-label data set are one class."""
    table = manifest.table[~manifest.table["background"]]
    group = table["group"].where(table["group"] != "", pd.Series(np.arange(len(table)).astype(str), index=table.index))
    labels = table["label"] if manifest.label_separator is None else pd.Series("", index=table.index)
    classes = group.groupby(labels)
    return pd.DataFrame({"groups": classes.nunique(), "clips": classes.size()})


def _few(groups: pd.DataFrame, folds: int) -> bool:
    """Return whether classes that cannot occur in every fold have only few of the clips."""
    return bool(groups["clips"][groups["groups"] < folds].sum() <= RARE * groups["clips"].sum())
