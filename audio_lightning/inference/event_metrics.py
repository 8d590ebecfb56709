"""Metrics of sound event detection: event- and segment-based F1, PSDS and onset errors."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd
from jaxtyping import Float

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.data.sources.annotated import named_like
from audio_lightning.data.sources.annotation_files import SUFFIXES, read_annotations
from audio_lightning.inference.event_tables import COLUMNS

COLLAR_SECONDS = 0.2
"""Tolerance of onsets in seconds; the tolerance of offsets is half of the event's length if that is larger."""

SEGMENT_SECONDS = 1.0
"""Segment length of the segment-based metrics, in seconds."""


def evaluate_events(
    detections: pd.DataFrame, reference: pd.DataFrame, *, seconds: Mapping[str, float]
) -> dict[str, float]:
    """Compute metrics of detected events, pooled over all recordings.

    Event- and segment-based metrics are micro-averages by ``sed_eval`` (Mesaros, Heittola and Virtanen, "Metrics for
    Polyphonic Sound Event Detection", 2016). A detected event is correct if its onset is within :data:`COLLAR_SECONDS`
    of the annotation, and its offset within the same time or half of the event's length. PSDS (Bilen et al. 2020) is
    that of DCASE's first scenario, by ``sed_scores_eval``, with the confidence of an event as its score. Events below
    the detection threshold have no score, so PSDS is a lower bound.

    Args:
        detections: a table with ``path``, ``start_seconds``, ``end_seconds``, ``label`` and ``confidence``.
        reference: a table with the first four of these columns.
        seconds: lengths of all recordings in seconds, by path; rows of other recordings are ignored.

    Returns:
        ``event_f1``, ``event_precision``, ``event_recall``, ``segment_f1`` and ``psds``; and from
        :func:`onset_errors`, ``onset_error_median``, ``onset_error_absolute_median`` and ``events_matched``, their
        number. Undefined metrics are NaN.

    Raises:
        ConfigError: ``sed_eval`` or ``sed_scores_eval`` is not installed.
        DataError: no events, neither detected nor annotated.
    """
    detections, reference = (_usable(table, seconds) for table in (detections, reference))
    labels = sorted({*detections["label"], *reference["label"]})
    if not labels:
        raise DataError("no events to compare, neither detected nor annotated; lower the threshold, or check the paths")
    sound_event = _package("sed_eval").sound_event
    of_events = sound_event.EventBasedMetrics(labels, t_collar=COLLAR_SECONDS)
    of_segments = sound_event.SegmentBasedMetrics(labels, time_resolution=SEGMENT_SECONDS)
    for path, length in seconds.items():
        right, found = _items(reference, path), _items(detections, path)
        of_events.evaluate(right, found)
        of_segments.evaluate(right, found, evaluated_length_seconds=length)
    overall = of_events.results_overall_metrics()["f_measure"]
    errors = onset_errors(detections, reference)
    return {
        "event_f1": float(overall["f_measure"]),
        "event_precision": float(overall["precision"]),
        "event_recall": float(overall["recall"]),
        "segment_f1": float(of_segments.results_overall_metrics()["f_measure"]["f_measure"]),
        "psds": _psds(detections, reference, seconds, labels),
        "onset_error_median": float(np.median(errors)) if len(errors) else np.nan,
        "onset_error_absolute_median": float(np.median(np.abs(errors))) if len(errors) else np.nan,
        "events_matched": float(len(errors)),
    }


def onset_errors(detections: pd.DataFrame, reference: pd.DataFrame) -> Float[np.ndarray, "matched"]:
    """Compute detected minus annotated onsets in seconds, for matched pairs of overlapping events of one class.

    Each annotated event is matched with the detected event of the largest overlap; a detected event is matched once.

    Args:
        detections: see :func:`evaluate_events`.
        reference: see :func:`evaluate_events`.
    """
    errors = list[float]()
    known = {key: rows.sort_values("start_seconds") for key, rows in detections.groupby(["path", "label"])}
    for key, events in reference.sort_values("start_seconds").groupby(["path", "label"]):
        if (found := known.get(key)) is None:
            continue
        starts, stops = found["start_seconds"].to_numpy(float), found["end_seconds"].to_numpy(float)
        free = np.ones(len(found), bool)
        for start, stop in events[["start_seconds", "end_seconds"]].itertuples(index=False, name=None):
            overlap = (np.minimum(stops, stop) - np.maximum(starts, start)) * free
            if (best := int(overlap.argmax())) >= 0 and overlap[best] > 0:
                free[best] = False
                errors.append(starts[best] - start)
    return np.array(errors)


def read_reference(where: Path, recordings: Sequence[Path]) -> pd.DataFrame:
    """Read the annotations of recordings.

    Args:
        where: a folder with one file per recording, of the same name (``rec.txt``, ``rec.Table.1.selections.txt`` for
            ``rec.wav``), at any depth; or a single file, which names the recordings if there are several.
        recordings: the recordings.

    Returns:
        A table with the columns ``path``, ``start_seconds``, ``end_seconds`` and ``label``.

    Raises:
        DataError: a recording without a file or with several, an unreadable file, or invalid rows.
    """
    if where.is_dir():
        tables = [_of_recording(file, path) for path, file in _files_of(where, recordings)]
    elif len(recordings) == 1:
        tables = [_of_recording(where, recordings[0])]
    else:
        tables = [_of_several(where, recordings)]
    table = pd.concat(tables, ignore_index=True)
    return table.rename(columns={"stop_seconds": "end_seconds"})[[*COLUMNS[:4]]]


def _usable(table: pd.DataFrame, seconds: Mapping[str, float]) -> pd.DataFrame:
    """Keep the events of known recordings, cut at the end of the recording."""
    table = table[table["path"].isin(list(seconds)) & table["label"].notna()]
    lengths = table["path"].map(dict(seconds))
    table = table.assign(end_seconds=np.minimum(table["end_seconds"], lengths))
    return table[table["start_seconds"] < table["end_seconds"]]


def _items(table: pd.DataFrame, path: str) -> list[dict[str, Any]]:
    """Convert the events of a recording to the format of sed_eval."""
    columns = {"start_seconds": "onset", "end_seconds": "offset", "label": "event_label"}
    rows = table[table["path"] == path].sort_values("start_seconds").rename(columns=columns)
    return [{str(name): value for name, value in row.items()} for row in rows[[*columns.values()]].to_dict("records")]


def _psds(
    detections: pd.DataFrame, reference: pd.DataFrame, seconds: Mapping[str, float], labels: Sequence[str]
) -> float:
    """Compute PSDS of DCASE's first scenario, which requires exact times."""
    package, scores, truth = _package("sed_scores_eval"), dict[str, pd.DataFrame](), dict[str, list[Any]]()
    for path, length in seconds.items():
        rows = detections[detections["path"] == path]
        times = np.unique([0.0, length, *rows["start_seconds"], *rows["end_seconds"]])
        values = np.zeros((len(times) - 1, len(labels)))
        for start, stop, label, confidence in rows[[*COLUMNS[1:]]].itertuples(index=False, name=None):
            within = (times[:-1] >= start) & (times[:-1] < stop)
            column = values[:, labels.index(label)]
            column[within] = np.maximum(column[within], confidence)
        scores[path] = _Scores({"onset": times[:-1], "offset": times[1:], **dict(zip(labels, values.T))})
        events = reference[reference["path"] == path][["start_seconds", "end_seconds", "label"]]
        truth[path] = list(events.itertuples(index=False, name=None))
    options = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0}
    found, *_ = package.intersection_based.psds(scores, truth, dict(seconds), **options)
    return float(found)


class _Scores(pd.DataFrame):
    """A data frame with writable arrays: sed_scores_eval 0.0.4 writes to them, and pandas 3 returns read-only ones."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Scores(found) if isinstance(key, list) else found

    def to_numpy(self, *_: Any, **__: Any) -> np.ndarray:
        return super().to_numpy(copy=True)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"evaluation of events: {error.name} is not installed; pip install 'audio-lightning[events]'"
        ) from error


def _files_of(folder: Path, recordings: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each recording with its file; if recordings share a name, the name of the folder must match, too."""
    stems, files = dict[str, list[str]](), dict[str, list[Path]]()
    for path in recordings:
        for stem in dict.fromkeys([path.name, path.stem]):
            stems.setdefault(normalize("NFC", stem), []).append(str(path))
    for file in sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES):
        named = named_like(file.name, stems)
        if len(named) > 1:
            named = [name for name in named if Path(name).parent.name == file.parent.name]
        for name in named:
            files.setdefault(name, []).append(file)
    for path in recordings:
        found = files.get(str(path), [])
        if len(found) != 1:
            files_found = f"{len(found)}, such as {found[0].name} and {found[1].name}" if found else "none"
            raise DataError(f"{folder}: expected one annotation file with the name of {path}, found {files_found}")
        yield path, found[0]


def _of_recording(file: Path, path: Path) -> pd.DataFrame:
    return _rows(file, names_recordings=False).assign(path=as_utf8(path))


def _of_several(file: Path, recordings: Sequence[Path]) -> pd.DataFrame:
    rows, names = _rows(file, names_recordings=True), {path.name: as_utf8(path) for path in recordings}
    if len(names) < len(recordings):
        raise DataError(f"{file}: several recordings have the same name; give a folder with one file per recording")
    named = rows["path"].map(lambda name: names.get(PurePosixPath(str(name).replace("\\", "/")).name))
    return rows.assign(path=named)[named.notna()]


def _rows(file: Path, *, names_recordings: bool) -> pd.DataFrame:
    read = read_annotations(file, {}, names_recordings=names_recordings)
    if read.problems:
        raise DataError(f"{file}: {len(read.problems)} invalid rows; correct them, first this one: {read.problems[0]}")
    return read.rows[read.rows["label"] != ""]
