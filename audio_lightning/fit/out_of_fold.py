"""Out-of-fold predictions of candidates, aligned by clip.

A candidate is a configuration that is trained once per fold. Each of its runs predicts its own test clips, so that
every clip is predicted by a network that was not trained on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int64

from audio_lightning.compare.fit_summary import TRAIN_SHARE, FitFolder
from audio_lightning.compare.names import row_names
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.core.errors import ConfigError, DataError, FileError
from audio_lightning.core.files import require_folder, shortened
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.run_folder import RunFolder
from audio_lightning.training.results import ENERGY

A_SWEEP_OR_RUN = "expected a folder with sweep.json or config.yaml, as written by sweep.py and train.py"

PREFIX = "probability "
"""Prefix of the probability columns in tables of predictions."""

KEY = ["path", "start_seconds", "occurrence"]
"""Columns that identify a clip. Clips of one run with the same path and start (channels, or recordings cut into rows)
are numbered in their order, which is that of the manifest in all runs."""


@dataclass(frozen=True)
class OutOfFold:
    """Out-of-fold predictions of several candidates on the same clips.

    Attributes:
        candidates: names of the candidates.
        classes: names of the classes.
        multilabel: whether a clip may have several labels.
        recordings: whether a clip is a whole recording, predicted by the mean of its windows.
        clips: ``path``, ``start_seconds``, ``end_seconds`` (whole recordings: 0 and NaN), ``group`` and ``label`` of
            every clip, in the order of paths and starts.
        targets: labels of every clip as booleans.
        energies: energy of every clip (:meth:`audio_lightning.classifier.base.Classifier.logits_and_energy`); NaN if
            unknown, as for whole recordings.
        probabilities: probabilities of every class; NaN if a candidate has no prediction for the clip. Several
            predictions of a clip by one candidate (seeds, or repeated cross-validation) are averaged.
        num_clips: number of clips or windows of the data set, tested or not; None if the runs do not record it.
        num_tested: number of these that were tested in any run.
    """

    candidates: tuple[str, ...]
    classes: tuple[str, ...]
    multilabel: bool
    recordings: bool
    clips: pd.DataFrame
    targets: Bool[np.ndarray, "clips classes"]
    probabilities: Float32[np.ndarray, "candidates clips classes"]
    num_clips: int | None
    num_tested: int
    energies: Float32[np.ndarray, "candidates clips"] | None = None

    @property
    def group(self) -> Int64[np.ndarray, "clips"]:
        """Number of the group of every clip, which folds never divide; the recording if there are no groups."""
        return pd.factorize(self.clips["group"], sort=True)[0].astype(np.int64)

    @property
    def predicted(self) -> Bool[np.ndarray, "candidates clips"]:
        """Whether a candidate has a prediction for a clip."""
        return np.isfinite(self.probabilities).all(axis=-1)

    def complete(self) -> tuple["OutOfFold", dict[str, str]]:
        """Restrict to the clips of the candidate with the most predictions, and to candidates that predict all of them.

        Successive halving stops candidates after some folds. Scores on different clips are not comparable, so such
        candidates are left out, as are candidates whose networks diverged.

        Returns:
            The predictions without gaps, and the reason for every candidate that is left out.

        Raises:
            DataError: no candidate has any prediction.
        """
        known = self.predicted
        most = int(known.sum(axis=1).argmax())
        clips = np.asarray(known[most])
        if not clips.any():
            raise DataError(
                f"no candidate has a usable prediction ({', '.join(self.candidates)}): all probabilities are NaN; "
                "train with a lower learning rate"
            )
        kept = np.asarray(known[:, clips].all(axis=1))
        left_out = {
            name: f"predicts {int(known[place, clips].sum()):,} of {int(clips.sum()):,} clips"
            for place, name in enumerate(self.candidates)
            if not kept[place]
        }
        found = replace(
            self,
            candidates=tuple(name for name, keep in zip(self.candidates, kept) if keep),
            clips=self.clips[clips].reset_index(drop=True),
            targets=self.targets[clips],
            probabilities=self.probabilities[kept][:, clips],
            energies=None if self.energies is None else self.energies[kept][:, clips],
        )
        return found, left_out


def candidates_of(sweep: SweepFolder) -> dict[str, list[RunFolder]]:
    """Group the finished runs of a sweep by candidate; runs of one candidate differ only in fold and seed.

    Returns:
        Runs by the name of the candidate, such as ``logmel cnn``, sorted by name.

    Raises:
        ConfigError: no trial is finished, or the trials are on different recordings or labels.
    """
    axes = sweep.read_facts().axes
    results = read_results([sweep])
    done = results[results["state"] == "done"]
    if done.empty:
        raise ConfigError(f"{sweep.path}: no trial is finished; give the sweep's command again")
    if (contents := len(set(done["content"]))) > 1:
        raise ConfigError(f"{sweep.path}: the trials are on {contents} different data sets; give a sweep on one")
    setups = {str(setup): trials for setup, trials in done.groupby("setup", sort=False)}
    names = row_names(setups, axes)
    return {
        names[setup]: [RunFolder(sweep.path / folder) for folder in setups[setup]["folder"]]
        for setup in sorted(setups, key=names.__getitem__)
    }


def candidates_of_fit(fit: FitFolder) -> dict[str, list[RunFolder]]:
    """Group the finished trainings of a fit by candidate, without those of its learning curve.

    Raises:
        ConfigError: no training is finished.
    """
    found: dict[str, list[RunFolder]] = {}
    for folder, status in fit.sweep.folders():
        if status.state == "done" and TRAIN_SHARE not in status.choices:
            found.setdefault(str(status.choices.get("candidate")), []).append(folder)
    if not found:
        raise ConfigError(f"{fit.path}: no training is finished; give the fit's command again")
    return found


def candidates_in(paths: Sequence[Path]) -> dict[str, list[RunFolder]]:
    """Find the candidates in the given folders.

    Args:
        paths: folder of one fit or one sweep, whose setups are the candidates, or folders of runs, which together are
            one candidate.

    Raises:
        ConfigError: a folder contains no fit, sweep or run; a sweep is given with other folders; or nothing has
            finished.
    """
    for path in paths:
        require_folder(path, A_SWEEP_OR_RUN)
        if len(paths) == 1 and FitFolder(path).sweep.facts.exists():
            return candidates_of_fit(FitFolder(path))
    sweeps = [path for path in paths if SweepFolder(path).facts.exists()]
    if sweeps and len(paths) > 1:
        raise ConfigError(f"{sweeps[0]}: a sweep cannot be combined with other folders; give it alone")
    if sweeps:
        return candidates_of(SweepFolder(sweeps[0]))
    if other := [path for path in paths if not RunFolder(path).config.exists()]:
        raise ConfigError(f"{other[0]}: {A_SWEEP_OR_RUN}")
    return {"runs": [RunFolder(path) for path in paths]}


def read_out_of_fold(candidates: Mapping[str, Sequence[RunFolder]], *, whole: bool | None = None) -> OutOfFold:
    """Read the test predictions of candidates.

    Args:
        candidates: runs by the name of the candidate.
        whole: align whole recordings (True) or clips (False). None: whole recordings if any run cut recordings into
            windows, because candidates may have different windows.

    Raises:
        ConfigError: there is no run, or a run has no test.
        DataError: runs differ in classes, or in the label or the group of a clip.
        FileError: a file is missing or damaged.
    """
    folders = [folder for runs in candidates.values() for folder in runs]
    if not folders:
        raise ConfigError("no run to read out-of-fold predictions from; give folders of runs with a test")
    recordings = any(folder.recordings.is_file() for folder in folders) if whole is None else whole
    parts = {name: [_read(folder, recordings) for folder in runs] for name, runs in candidates.items()}
    every = [part for runs in parts.values() for part in runs]
    for part in every[1:]:
        _check_classes(every[0], part)
    rows = pd.concat([part.rows.assign(run=number) for number, part in enumerate(every)], ignore_index=True)
    clip = rows.groupby(KEY, sort=True).ngroup().to_numpy()
    _check_agreement(rows, clip, every)
    first = np.unique(clip, return_index=True)[1]
    classes = every[0].classes
    # One more column for the energy.
    sums = np.zeros((len(parts), len(first), len(classes) + 1))
    counts = np.zeros((len(parts), len(first), 1))
    places = np.split(clip, np.cumsum([len(part.rows) for part in every])[:-1])
    owners = [number for number, runs in enumerate(parts.values()) for _ in runs]
    for number, part, place in zip(owners, every, places):
        np.add.at(sums[number], place, np.column_stack([part.probabilities, part.rows["energy"]]))
        np.add.at(counts[number], place, 1)
    with np.errstate(invalid="ignore"):
        means = (sums / counts).astype(np.float32)
    known = [part.num_clips for part in every if part.num_clips is not None]
    return OutOfFold(
        candidates=tuple(parts),
        classes=classes,
        multilabel=every[0].multilabel,
        recordings=recordings,
        clips=rows.loc[first, ["path", "start_seconds", "end_seconds", "group", "label"]].reset_index(drop=True),
        targets=np.concatenate([part.targets for part in every])[first],
        probabilities=means[..., :-1],
        energies=means[..., -1],
        num_clips=max(known, default=None),
        num_tested=len(set().union(*(part.tested for part in every))),
    )


@dataclass(frozen=True)
class _Run:
    """Test predictions of one run."""

    file: Path
    classes: tuple[str, ...]
    multilabel: bool
    rows: pd.DataFrame
    targets: Bool[np.ndarray, "clips classes"]
    probabilities: Float[np.ndarray, "clips classes"]
    num_clips: int | None
    tested: set[tuple[str, float, int]]


def _read(folder: RunFolder, recordings: bool) -> _Run:
    if not folder.predictions.is_file():
        raise ConfigError(
            f"{folder.path}: has no predictions.csv; expected a run with a test, such as those of sweep=folds"
        )
    multilabel = "average_precision" in folder.read_per_class()
    of_clips = folder.read_predictions(folder.predictions)
    file = folder.recordings if recordings and folder.recordings.is_file() else folder.predictions
    table = of_clips if file == folder.predictions else folder.read_predictions(file)
    columns = [name for name in table.columns if name.startswith(PREFIX)]
    classes = tuple(name.removeprefix(PREFIX) for name in columns)
    if not classes or not {"start_seconds", "end_seconds"} <= set(of_clips):
        raise FileError(f"{file} is damaged: it lacks the probabilities or the times of the clips; restore a copy")
    probabilities = table[columns].to_numpy(dtype=float)
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise FileError(f"{file} is damaged: a probability is not between 0 and 1; restore a copy")
    rows = table[["path", "label"]].copy()
    rows["group"] = table["path"].where(table["group"] == "", table["group"]) if "group" in table else table["path"]
    rows["start_seconds"] = 0.0 if recordings else table["start_seconds"].astype(float)
    rows["end_seconds"] = np.nan if recordings else table["end_seconds"].astype(float)
    rows["energy"] = table[ENERGY].astype(float) if ENERGY in table else np.nan
    rows["occurrence"] = rows.groupby(["path", "start_seconds"]).cumcount()
    counted = [folder.read_metrics().get(f"num_clips/{part}") for part in ("train", "validation", "test")]
    tested = of_clips[["path", "start_seconds"]]
    tested = tested.assign(occurrence=tested.groupby(["path", "start_seconds"]).cumcount())
    return _Run(
        file,
        classes,
        multilabel,
        rows,
        _targets(table["label"], classes, multilabel, file),
        probabilities,
        None if None in counted else sum(int(count) for count in counted if count),
        set(tested.itertuples(index=False, name=None)),
    )


def _targets(
    labels: "pd.Series[str]", classes: Sequence[str], multilabel: bool, file: Path
) -> Bool[np.ndarray, "clips classes"]:
    place = {name: number for number, name in enumerate(classes)}
    targets = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, entry in enumerate(labels):
        for name in [part for part in entry.split(LABEL_SEPARATOR) if part] if multilabel else [entry]:
            if name not in place:
                raise FileError(
                    f"{file} is damaged: no column has the probability of {shortened(name)}; restore a copy"
                )
            targets[row, place[name]] = True
    return targets


def _check_classes(first: _Run, other: _Run) -> None:
    if first.multilabel != other.multilabel:
        raise DataError(f"{first.file} and {other.file}: clips have several labels in only one; give runs of one task")
    if first.classes != other.classes:
        lacking = sorted(set(first.classes) ^ set(other.classes))
        differ = ", ".join(map(shortened, lacking[:5])) if lacking else "their order"
        raise DataError(f"{first.file} and {other.file}: the classes differ ({differ}); give runs on the same data")


def _check_agreement(rows: pd.DataFrame, clip: np.ndarray, runs: Sequence[_Run]) -> None:
    for what in ("label", "group"):
        distinct = rows.assign(clip=clip).drop_duplicates(["clip", what])
        if (again := distinct["clip"].duplicated()).any():
            same = distinct[distinct["clip"] == distinct.loc[again, "clip"].iloc[0]]
            one, two = same.to_dict("records")[:2]
            raise DataError(
                f"{one['path']}: its {what} is {shortened(one[what])} in {runs[one['run']].file} and "
                f"{shortened(two[what])} in {runs[two['run']].file}; train the older runs again"
            )
