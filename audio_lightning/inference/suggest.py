"""Active learning: choose windows of unlabelled recordings to label, by uncertainty and diversity or by similarity."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.files import read_frame
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.inference.windows import Part, batches, merged, not_finite, stacked

COLUMNS = ("path", "start_seconds", "end_seconds", "label", "predicted", "probability", "score")
"""Columns of the table; once ``label`` is filled in, ``data=table`` and ``data=annotations`` can read it."""

CANDIDATES, CANDIDATES_EACH = 10_000, 20
"""Minimum number of candidates (the most uncertain windows) in total and per chosen window; the larger one bounds the
memory."""


@dataclass(frozen=True)
class Suggestion:
    """A window to label.

    Attributes:
        path: recording, relative to the folder if one folder was searched, else absolute; in UTF-8
            (:func:`audio_lightning.core.utf8.as_utf8`).
        start_seconds: start of the window in the recording.
        stop_seconds: end of the window.
        predicted: predicted labels.
        probability: probability of the most probable class.
        score: uncertainty from 0 to 1 (:func:`uncertainty`), or the cosine similarity to a clip.
    """

    path: str
    start_seconds: float
    stop_seconds: float
    predicted: list[str]
    probability: float
    score: float

    def row(self) -> list[Any]:
        """Return the cells of :data:`COLUMNS`; the label is empty."""
        predicted = LABEL_SEPARATOR.join(self.predicted)
        times = f"{self.start_seconds:.3f}", f"{self.stop_seconds:.3f}"
        return [self.path, *times, "", predicted, f"{self.probability:.4f}", f"{self.score:.4f}"]


@dataclass
class Suggestions:
    """Windows to label, the most important first, and errors of unreadable recordings."""

    windows: list[Suggestion]
    errors: list[str] = field(default_factory=list)
    num_recordings: int = 0


@dataclass(frozen=True)
class _Window:
    """A window of a recording, with its embedding and the probability of every class."""

    path: Path
    start_seconds: float
    stop_seconds: float
    vector: Float[np.ndarray, "values"]
    probabilities: Float[np.ndarray, "classes"]


def suggest(
    classifier: Classifier,
    recordings: Sequence[Path],
    *,
    number: int = 50,
    like: Path | None = None,
    labelled: Iterable[Path] = (),
    seed: int = 0,
    **options: Any,
) -> Suggestions:
    """Choose windows to label.

    Args:
        classifier: in evaluation mode.
        recordings: files, and folders that are searched; an unreadable file does not stop the others.
        number: number of windows.
        like: path of a clip; the windows with the most similar embeddings are chosen instead, one per recording.
        labelled: tables with ``path``, ``start_seconds`` and ``end_seconds``, such as earlier suggestions; windows that
            overlap their rows are left out.
        seed: seed of the random draws (:func:`choose`).
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: an invalid number, window or hop.
        AudioError: ``like`` cannot be read.
        DataError: a folder without recordings.
        FileError: a table of ``labelled`` is damaged.
    """
    if number < 1:
        raise ConfigError(f"--n {number}: expected 1 or more windows")
    root = recordings[0] if len(recordings) == 1 and recordings[0].is_dir() else None
    known = _Labelled.read(labelled)
    files = find_recordings(recordings)
    query = None
    if like is not None:
        query = _query(classifier, like, **options)
        files = [path for path in files if path.resolve() != like.resolve()]
    found = Suggestions([], num_recordings=len(files))

    def name(path: Path) -> str:
        return as_utf8(path.relative_to(root).as_posix() if root is not None else path.absolute())

    windows = (
        window
        for window in _windows(classifier, files, found.errors, **options)
        if not known.overlaps(name(window.path), window)
    )
    chosen = _uncertain(classifier, windows, number, seed) if query is None else _similar(windows, number, query)
    for window, score in chosen:
        probabilities = torch.from_numpy(window.probabilities)[None]
        labels, highest = classifier.decide(probabilities)[0], float(probabilities.max())
        times = window.start_seconds, window.stop_seconds
        found.windows.append(Suggestion(name(window.path), *times, labels, highest, score))
    return found


def choose(
    probabilities: Float[np.ndarray, "windows classes"],
    vectors: Float[np.ndarray, "windows values"],
    number: int,
    *,
    multilabel: bool = False,
    seed: int = 0,
) -> Int64[np.ndarray, "chosen"]:
    """Choose uncertain and diverse windows: BADGE (Ash et al., ICLR 2020, arXiv 1906.03671).

    A window is represented by the gradient of the loss with respect to the head's weights, with the prediction as its
    label: the outer product of ``probabilities - prediction`` and the embedding. Its norm is large for an uncertain
    prediction. The seeding of k-means++ (Arthur and Vassilvitskii 2007) starts with the largest norm, and then draws
    windows with probability proportional to the squared distance to the nearest drawn window. The zero vector, the
    gradient of a certain prediction, counts as drawn, so that no label is spent on certain predictions. The outer
    products are never computed explicitly.

    Args:
        probabilities: probabilities of all windows.
        vectors: embeddings of all windows.
        number: number of windows to choose; all windows if there are fewer.
        multilabel: whether a window may have several labels.
        seed: seed of the random draws.

    Returns:
        Indices of the windows, in the order of the draws.
    """
    if multilabel:
        errors = probabilities - (probabilities >= 0.5)
    else:
        errors = probabilities - np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]
    scaled = vectors / max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-12)
    squares = (errors**2).sum(axis=1) * (scaled**2).sum(axis=1)
    generator = np.random.default_rng(seed)
    nearest, chosen = squares.astype(np.float64), list[int]()
    free = np.ones(len(squares), dtype=bool)
    for _ in range(min(number, len(squares))):
        weights = np.where(free, nearest, 0.0)
        if not chosen or not weights.sum() > 0:  # first draw, or only certain windows and copies are left
            place = int(np.where(free, squares, -1.0).argmax())
        else:
            place = int(generator.choice(len(weights), p=weights / weights.sum()))
        chosen.append(place)
        free[place] = False
        distance = squares + squares[place] - 2 * (errors @ errors[place]) * (scaled @ scaled[place])
        nearest = np.minimum(nearest, distance.clip(0))
    return np.array(chosen, dtype=np.int64)


def uncertainty(
    probabilities: Float[np.ndarray, "windows classes"], thresholds: Float[np.ndarray, "classes"] | None = None
) -> Float[np.ndarray, "windows"]:
    """Compute the uncertainty of predictions, from 0 to 1.

    Args:
        probabilities: probability of every class.
        thresholds: thresholds of the classes for multi-label tasks; None for single-label tasks.

    Returns:
        1 minus the margin between the two most probable classes (Scheffer et al. 2001). For multi-label tasks, 1 minus
        the distance of the closest class to its threshold, as a share of the distance from the threshold to 0 or 1.
    """
    if thresholds is None:
        second, first = np.sort(probabilities, axis=1)[:, -2:].T
        return 1 - (first - second)
    room = np.where(probabilities >= thresholds, 1 - thresholds, thresholds)
    return 1 - (np.abs(probabilities - thresholds) / np.maximum(room, 1e-6)).min(axis=1).clip(0, 1)


class _Labelled:
    """Segments of recordings that are labelled already, by the names of the recordings."""

    def __init__(self, stretches: dict[str, list[tuple[float, float]]]) -> None:
        self._stretches = stretches

    @classmethod
    def read(cls, tables: Iterable[Path]) -> "_Labelled":
        found, columns = dict[str, list[tuple[float, float]]](), list(COLUMNS[:3])
        for table in tables:
            rows = read_frame(table, texts=["path"], required=columns, others=False)
            for path, start, stop in rows[columns].itertuples(index=False, name=None):
                found.setdefault(path, []).append((start, stop))
        return cls(found)

    def overlaps(self, name: str, window: _Window) -> bool:
        """Whether a window overlaps a labelled segment; a window that only touches one does not overlap it."""
        start, stop = window.start_seconds + 0.001, window.stop_seconds - 0.001  # times of tables are in milliseconds
        known = self._stretches.get(name) or self._stretches.get(as_utf8(window.path.absolute())) or []
        return any(start < end and begin < stop for begin, end in known)


def _windows(classifier: Classifier, files: Iterable[Path], errors: list[str], **options: Any) -> Iterator[_Window]:
    """Yield the readable windows; append errors of the others to ``errors``."""
    for parts in batches(classifier, files, **options):
        values = _outputs(classifier, parts)
        for part in parts:
            if part.samples is None:
                errors.append(str(part.error))
                continue
            vector, probabilities = next(values)
            error = not_finite(part, vector, "embedding") or not_finite(part, probabilities, "probabilities")
            if error is None:
                times = part.start_seconds or 0.0, part.stop_seconds or 0.0
                yield _Window(part.path, *times, vector, probabilities)
            else:
                errors.append(error)


@torch.inference_mode()
def _outputs(classifier: Classifier, parts: list[Part]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compute embedding and probabilities of each readable window, averaged over channels."""
    waveforms = stacked(parts)
    if waveforms is None:
        return iter(())
    vectors = merged(parts, classifier.embed(waveforms.to(classifier.device)).float().cpu()).numpy()
    return zip(vectors, merged(parts, classifier.probabilities(waveforms).cpu()).numpy())


def _uncertain(
    classifier: Classifier, windows: Iterable[_Window], number: int, seed: int
) -> list[tuple[_Window, float]]:
    several = classifier.task.multilabel
    thresholds = classifier.thresholds.cpu().numpy() if several else None
    most = max(CANDIDATES, CANDIDATES_EACH * number)
    pool, scores = list[_Window](), np.empty(0)

    def keep() -> None:
        nonlocal pool, scores
        scores = uncertainty(np.stack([window.probabilities for window in pool]), thresholds)
        places = np.sort(np.argsort(-scores, kind="stable")[:most])
        pool, scores = [pool[place] for place in places], scores[places]

    for window in windows:
        pool.append(window)
        if len(pool) >= 2 * most:
            keep()
    if not pool:
        return []
    keep()
    probabilities, vectors = (np.stack(values) for values in zip(*((one.probabilities, one.vector) for one in pool)))
    places = choose(probabilities, vectors, number, multilabel=several, seed=seed)
    return [(pool[place], float(scores[place])) for place in places]


def _similar(
    windows: Iterable[_Window], number: int, query: Float[np.ndarray, "windows values"]
) -> list[tuple[_Window, float]]:
    """Return the most similar window of each recording, by cosine similarity to the nearest window of the clip."""
    best = dict[Path, tuple[_Window, float]]()
    for window in windows:
        score = float((query @ _directions(window.vector[None])[0]).max())
        if window.path not in best or score > best[window.path][1]:
            best[window.path] = window, score
    return sorted(best.values(), key=lambda found: -found[1])[:number]


def _query(classifier: Classifier, like: Path, **options: Any) -> Float[np.ndarray, "windows values"]:
    errors = list[str]()
    vectors = [window.vector for window in _windows(classifier, [like], errors, **options)]
    if not vectors:
        raise AudioError(errors[0])
    return _directions(np.stack(vectors))


def _directions(vectors: Float[np.ndarray, "windows values"]) -> Float[np.ndarray, "windows values"]:
    """Normalize vectors to length 1; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
