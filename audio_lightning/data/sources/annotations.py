"""Data source of annotated recordings of any length, such as from Raven and Audacity."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.clip_choice import Stretches
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.problems import Problem
from audio_lightning.data.sources.annotated import Annotated, find_annotated
from audio_lightning.data.sources.annotation_windows import LabelledWindows, Overlap, label_windows
from audio_lightning.data.sources.folder import SPLIT_NAMES, class_order
from audio_lightning.data.sources.name_patterns import describe, name_patterns
from audio_lightning.data.sources.table import check_table, locate
from audio_lightning.data.sources.unlisted import unlisted

MOST_NAMED = 8
"""Maximum number of labels to list with their counts."""


class Annotations(AudioDataModule):
    r"""Windows of annotated recordings, labelled by the annotations that they overlap enough.

    Annotations are in files next to the recordings with the same name (``rec.wav``, ``rec.txt``,
    ``rec.Table.1.selections.txt``), or in a table that names the recordings. Formats are Raven selection tables,
    Audacity label tracks, and tables with start, stop and label (:mod:`audio_lightning.data.sources.annotation_files`).
    Only recordings with such a file, or named in the table, are used. A recording whose file has no annotations
    contains none of the classes.

    A recording is cut into windows of ``clip_seconds`` with a hop of ``hop_seconds`` (by default without overlap); the
    last window ends with the recording. Every annotation labels at least the window with its largest part. A window
    that overlaps an annotation too little, and gets no other label, is left out: it is an example neither of the class
    nor of its absence. Each recording is a group, so its windows stay in one split.

    Args:
        table: file with the annotations of all recordings, relative to ``root`` or to the current folder, or absolute.
            Or a mapping from splits (:data:`~audio_lightning.data.sources.folder.SPLIT_NAMES`) to one file each. None:
            files next to the recordings.
        path_column: column with the path or name of the recording. None, here and for the next three columns: the
            first column with a common name.
        label_column: column with the label.
        start_column: column with the start, see :func:`~audio_lightning.data.sources.times.to_seconds`.
        stop_column: column with the end.
        group_column: column with the group of the recording.
        fold_column: column with the fold number of the recording.
        split_column: column with the split of the recording.
        group_pattern: see :class:`~audio_lightning.data.sources.folder.Folder`.
        fold_pattern: see :class:`~audio_lightning.data.sources.folder.Folder`.
        min_overlap_seconds: a window gets the label of an annotation if it contains at least this many seconds of it.
            None: only the share counts.
        min_overlap_share: a window also gets the label if it contains at least this share of the annotation, or if the
            annotation fills at least this share of the window. None: only the seconds count.
        multilabel: whether a window may have any number of labels. ``auto``: if some window has several labels,
            or if there are fewer than two classes. If False, a window has the label that fills most of it.
        background_label: class of the windows without annotations. None: they have no label, and are left out if each
            window has exactly one label.
        use_unannotated: use windows without annotations as clips without a label; set it to False if the recordings are
            not completely annotated. It has an effect only with several labels per window and no ``background_label``.
        ignore: see :class:`~audio_lightning.data.sources.folder.Folder`.
        **options: see :class:`AudioDataModule`.

    Raises:
        ConfigError: a hop longer than a window, an invalid overlap, pattern or background label, or a split, group or
            fold that is given twice.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> import soundfile
        >>> from audio_lightning.data.settings import ClipSettings
        >>> from audio_lightning.data.sources.annotations import Annotations
        >>> with tempfile.TemporaryDirectory() as root:
        ...     soundfile.write(Path(root) / "rec.wav", np.zeros(40_000), 8000)
        ...     _ = (Path(root) / "rec.txt").write_text("0.2\t0.9\tblackbird\n3.1\t3.8\trobin\n")
        ...     manifest = Annotations(root=root, clips=ClipSettings(sample_rate=8000, clip_seconds=1.0)).read()
        >>> manifest.table[["label", "start_seconds", "stop_seconds"]].values.tolist()
        [['blackbird', 0.0, 1.0], ['robin', 3.0, 4.0]]
    """

    def __init__(
        self,
        *,
        table: str | dict[str, str] | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        start_column: str | None = None,
        stop_column: str | None = None,
        group_column: str | None = None,
        fold_column: str | None = None,
        split_column: str | None = None,
        group_pattern: str | None = None,
        fold_pattern: str | None = None,
        min_overlap_seconds: float | None = None,
        min_overlap_share: float | None = 0.5,
        multilabel: bool | Literal["auto"] = "auto",
        background_label: str | None = None,
        use_unannotated: bool = True,
        ignore: str | Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_table(table, split_column)
        clips = self.clip_settings
        hop = None if {"clip_seconds", "hop_seconds"} & {*clips.automatic} else clips.nominal.hop_samples
        if hop is not None and hop > clips.nominal.num_samples:
            raise ConfigError(
                f"data.hop_seconds={self.clip_settings.hop_seconds} is more than data.clip_seconds="
                f"{self.clip_settings.clip_seconds}, which would lose annotations between windows; expected at most "
                "clip_seconds"
            )
        if background_label is not None and (not background_label.strip() or LABEL_SEPARATOR in background_label):
            raise ConfigError(f"data.background_label={background_label!r}: expected a name without {LABEL_SEPARATOR}")
        self.table = table
        columns = {
            "path": path_column,
            "label": label_column,
            "start": start_column,
            "stop": stop_column,
            "group": group_column,
            "fold": fold_column,
            "split": split_column,
        }
        self.columns = {name: column for name, column in columns.items() if column is not None}
        self.patterns = name_patterns(None, group_pattern, fold_pattern)
        for part in self.patterns:
            if part in self.columns:
                raise ConfigError(f"data.{part}_pattern: data.{part}_column defines the {part} already; leave one out")
        self.overlap = Overlap(min_overlap_seconds, min_overlap_share)
        self.multilabel = multilabel
        self.background_label = background_label
        self.use_unannotated = use_unannotated
        self.ignore = [ignore] if isinstance(ignore, str) else [str(pattern) for pattern in ignore]

    @property
    def hop_samples(self) -> None:
        """None, because every row of the manifest is a window already."""
        return None

    @functools.cached_property
    def annotated(self) -> Annotated:
        """Annotations and durations of their recordings, independent of the window length.

        Raises:
            DataError: see :func:`~audio_lightning.data.sources.annotated.find_annotated`.
        """
        named = {"": self.table} if isinstance(self.table, str) else self.table or {}
        tables = [(SPLIT_NAMES[name.lower()] if name else "", locate(self.root, file)) for name, file in named.items()]
        found = find_annotated(self.root, tables, self.columns, self.ignore)
        return self._with_patterns(found) if self.patterns else found

    def stretches(self) -> Stretches:
        """Annotations, from whose durations the window length is inferred."""
        return self.measure_stretches(self.annotated.annotations)

    def read(self) -> Manifest:
        """One row per window, sorted by recording and time.

        Raises:
            DataError: see :attr:`annotated`; or there are only windows without a label.
        """
        found = self.annotated
        windows = self._windows(found)
        multilabel = self._is_multilabel(windows)
        rows, counts = list[pd.DataFrame](), Counter[str]()
        for path, of_recording in windows.items():
            labels = pd.Series(self._labels(of_recording, multilabel, counts), dtype=object)
            columns = {"path": path, "label": labels, "start_seconds": of_recording.start / self.sample_rate}
            rows.append(pd.DataFrame(columns)[labels.notna()])
        table = pd.concat(rows, ignore_index=True).join(found.recordings, on="path")
        stop = table["start_seconds"] + self.num_samples / self.sample_rate
        table["stop_seconds"] = stop.clip(upper=table.pop("seconds"))
        classes = {label for of_recording in windows.values() for label in of_recording.names}
        if (table["label"] == self.background_label).any() and self.background_label is not None:
            classes.add(self.background_label)
        if not classes:
            raise DataError(f"{self.root}: the annotated recordings have no annotations; expected at least one label")
        if not multilabel and len(classes) < 2:
            raise DataError(
                f"{self.root}: all annotations have the label {next(iter(classes))}, expected at least two classes; "
                "data.background_label=background makes a class of the windows without annotations, and "
                "data.multilabel=true trains a detector of the single label"
            )
        separator = LABEL_SEPARATOR if multilabel else None
        manifest = Manifest(self.root, table, class_order(classes), list(found.problems), separator, list(found.notes))
        manifest.found = self._said(found, manifest, counts)
        return manifest

    def infers_multilabel(self) -> bool:
        """Whether windows may have several labels, as in :meth:`read`.

        Raises:
            DataError: see :attr:`annotated`.
        """
        return self._is_multilabel(self._windows(self.annotated))

    def unlisted(self) -> list[str]:
        """Recordings without annotations in the folders of the annotated ones, and below."""
        found = unlisted(self.pool.manifest, self.ignore, outside=False)
        return [path for path, problem in found if problem is None]

    def _with_patterns(self, found: Annotated) -> Annotated:
        recordings = found.recordings
        paths = recordings.index.tolist()
        if group := self.patterns.get("group"):
            names = group.find(paths)
            recordings = recordings.assign(group=[name or path for name, path in zip(names, paths)])
        if fold := self.patterns.get("fold"):
            folds = fold.find(paths)
            found.problems += [
                Problem(path, f"{fold} finds no fold in its name") for path, name in zip(paths, folds) if not name
            ]
            recordings = recordings.assign(fold=[int(name or -1) for name in folds])[[bool(name) for name in folds]]
        found.recordings = recordings
        found.annotations = found.annotations[found.annotations["path"].isin(recordings.index)]
        return found

    def _windows(self, found: Annotated) -> dict[str, LabelledWindows]:
        """Windows of every annotated recording."""
        by_path: dict[str, list[tuple[float, float, str]]] = {path: [] for path in sorted(found.recordings.index)}
        columns = ["path", "start_seconds", "stop_seconds", "label"]
        for path, start, stop, label in found.annotations[columns].itertuples(index=False, name=None):
            by_path[path].append((start, stop, label))
        seconds = found.recordings["seconds"].to_dict()
        return {
            path: label_windows(
                annotations,
                length=int(seconds[path] * self.sample_rate),
                sample_rate=self.sample_rate,
                window=self.num_samples,
                hop=self.clip_choice.shape.hop_samples or self.num_samples,
                overlap=self.overlap,
            )
            for path, annotations in by_path.items()
        }

    def _is_multilabel(self, windows: dict[str, LabelledWindows]) -> bool:
        if self.multilabel != "auto":
            return self.multilabel
        classes = {label for of_recording in windows.values() for label in of_recording.names}
        if self.background_label is not None and any(not w.touched.all() for w in windows.values()):
            classes.add(self.background_label)
        several = any((of_recording.labels.sum(axis=1) > 1).any() for of_recording in windows.values())
        return several or len(classes) < 2

    def _labels(self, windows: LabelledWindows, multilabel: bool, counts: Counter[str]) -> list[str | None]:
        """Entry of every window in the column ``label``; None for a window that is left out."""
        entries = list[str | None]()
        for labels, seconds, touched in zip(windows.labels, windows.seconds, windows.touched):
            places = np.flatnonzero(labels)
            counts["several"] += len(places) > 1
            counts["labelled"] += len(places) > 0
            if len(places):
                if not multilabel:
                    places = places[[seconds[places].argmax()]]
                entries.append(LABEL_SEPARATOR.join(windows.names[place] for place in places))
            elif touched:
                counts["edges"] += 1
                entries.append(None)
            else:
                counts["unannotated"] += 1
                label = self.background_label or ("" if multilabel and self.use_unannotated else None)
                entries.append(label)
        return entries

    def _said(self, found: Annotated, manifest: Manifest, counts: Counter[str]) -> str:
        """Summary of the annotations in one line."""
        multilabel = manifest.label_separator is not None
        labels = found.annotations["label"].value_counts()
        hours = found.recordings["seconds"].sum() / 3600
        files = ", ".join(f"{program} {number:,}" for program, number in sorted(found.programs.items()))
        columns = f", labels in column {' and '.join(found.label_columns)}" if found.label_columns else ""
        several = "with several" if multilabel else "with several, reduced to the longest one"
        if self.background_label is not None:
            unannotated = f"without annotations, of class {self.background_label}"
        elif multilabel and self.use_unannotated:
            unannotated = "without annotations, used without a label"
        else:
            unannotated = "without annotations, left out"
        parts = [
            f"{counts['labelled']:,} with a label",
            f"{counts['several']:,} of these {several}" * (counts["several"] > 0),
            f"{counts['unannotated']:,} {unannotated}" * (counts["unannotated"] > 0),
            f"{counts['edges']:,} with too little of an annotation, left out" * (counts["edges"] > 0),
        ]
        sentences = [
            f"annotations: {len(found.annotations):,} in {_count(len(found.recordings), 'recording')} of "
            f"{_duration(hours)} ({files}{columns})",
            f"{_count(len(labels), 'label')} ({_listed(labels.items())})",
            f"windows of {self.num_samples / self.sample_rate:g} s: {', '.join(filter(None, parts))}",
        ]
        if self.patterns:
            sentences.append(describe(manifest.table, list(self.patterns)))
        return "; ".join(sentences)


def _listed(counts: Iterable[tuple[Any, int]]) -> str:
    named = [f"{name} {count:,}" for name, count in counts]
    return ", ".join([*named[: MOST_NAMED - 1], "...", named[-1]] if len(named) > MOST_NAMED else named)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:,.1f} min"
