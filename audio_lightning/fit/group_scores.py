"""Metrics of many candidates at once, over weighted groups of clips, for bootstraps of groups."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer
from scipy.sparse import csr_array

from audio_lightning.compare.clip_results import METRICS as COUNTED
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.settings import METRICS

MEANS = ("accuracy", "loss")

SMALLEST = 1e-12
"""Lower bound of probabilities in a loss, as in the metrics of trainings."""

MOST_CELLS = 2**23
"""Maximum number of clip weights in memory at the same time."""

Probabilities = Float[np.ndarray, "classes members clips"]
"""Probabilities with the classes as the first axis, so that the largest is found by passes over whole arrays."""

Score = Callable[[Float[np.ndarray, "samples groups"]], Float[np.ndarray, "samples members"]]
"""Function from samples (weights of the groups) to the scores of all members; higher is better. A sample must not be
empty."""


def check_metric(metric: str, *, multilabel: bool) -> None:
    """Check that ensembles can be selected by a metric, before any training.

    Raises:
        ConfigError: the metric is not one of :data:`~audio_lightning.fit.settings.METRICS`.
    """
    if metric not in METRICS[multilabel]:
        which = "multi-label" if multilabel else "single-label"
        raise ConfigError(
            f"metric={metric}: not supported for {which} data; choose one of {', '.join(METRICS[multilabel])}"
        )


class GroupScores:
    """Scores of members by a metric; higher is better, so a loss is negated.

    Args:
        metric: one of :data:`~audio_lightning.fit.settings.METRICS`.
        targets: labels of every clip as booleans.
        group: number of the group of every clip, from 0.
        multilabel: whether clips may have several labels.

    Raises:
        ConfigError: the metric is not supported.
    """

    def __init__(
        self,
        metric: str,
        targets: Bool[np.ndarray, "clips classes"],
        group: Int64[np.ndarray, "clips"],
        *,
        multilabel: bool = False,
    ) -> None:
        check_metric(metric, multilabel=multilabel)
        self.metric, self.multilabel = metric, multilabel
        self.targets = np.ascontiguousarray(targets.T)
        self.label = targets.argmax(axis=1)
        self.group, self.num_groups = group, int(group.max(initial=-1)) + 1
        self.num_clips = np.bincount(group, minlength=self.num_groups).astype(float)
        self._member = csr_array((np.ones(len(group)), (group, np.arange(len(group)))))  # [groups, clips]

    @property
    def is_negated(self) -> bool:
        """Whether scores are the negated metric, as for a loss."""
        return lower_is_better(self.metric)

    def of(self, probabilities: Probabilities) -> Score:
        """Return a function that scores members on any samples of groups."""
        if self.metric in MEANS:
            sums = (self._member @ self._values(probabilities).T).T
            return lambda weights: (weights @ sums.T) / (weights @ self.num_clips)[:, None]
        return self._counted(probabilities) if self.metric in COUNTED else self._ranked(probabilities)

    def _values(self, probabilities: Probabilities) -> Float[np.ndarray, "members clips"]:
        if self.metric == "accuracy":
            return (_largest(probabilities) == self.label).astype(float)
        if self.multilabel:
            right = np.where(self.targets[:, None], probabilities, 1 - probabilities)
            return np.log(np.maximum(right, SMALLEST)).mean(axis=0, dtype=float)
        right = np.take_along_axis(probabilities, self.label[None, None], axis=0)[0]
        return np.log(np.maximum(right, SMALLEST)).astype(float)

    def _counted(self, probabilities: Probabilities) -> Score:
        predicted = _largest(probabilities).astype(np.int64)
        members, classes = len(predicted), len(self.targets)
        first = np.arange(members)[:, None] * classes
        hit = (predicted == self.label).ravel()
        of_hits = (first + self.label).ravel()[hit]
        guesses = (first + predicted).ravel()
        of_clip = np.tile(np.arange(len(self.group)), members)
        clip_of_hit = of_clip[hit]

        def of_sample(weights: Float[np.ndarray, "groups"]) -> Float[np.ndarray, "members"]:
            clips = weights[self.group]
            labelled = np.bincount(self.label, clips, classes)
            hits = np.bincount(of_hits, clips[clip_of_hit], members * classes).reshape(members, classes)
            guessed = np.bincount(guesses, clips[of_clip], members * classes).reshape(members, classes)
            return COUNTED[self.metric](np.stack([hits, np.broadcast_to(labelled, hits.shape), guessed], axis=1))

        return lambda weights: np.stack([of_sample(sample) for sample in weights])

    def _ranked(self, probabilities: Probabilities) -> Score:
        rankings = [[_ranking(*pair) for pair in zip(member, self.targets)] for member in probabilities.swapaxes(0, 1)]

        def of_part(weights: Float[np.ndarray, "samples groups"]) -> Float[np.ndarray, "samples members"]:
            of_clips = weights[:, self.group]
            scores = np.stack([[_average_precision(of_clips, *one) for one in member] for member in rankings])
            occurs = (of_clips @ self.targets.T > 0).T  # [classes, samples]
            number = occurs.sum(axis=0)
            return (np.where(occurs, scores, 0).sum(axis=1) / np.maximum(number, 1)).T

        def score(weights: Float[np.ndarray, "samples groups"]) -> Float[np.ndarray, "samples members"]:
            parts = np.array_split(weights, max(1, len(weights) * len(self.group) // MOST_CELLS))
            return np.concatenate([of_part(part) for part in parts])

        return score


def _largest(probabilities: Probabilities) -> Integer[np.ndarray, "members clips"]:
    """Return the first class with the largest probability.

    One pass over narrow integers per class takes a sixth of the time of ``argmax``, where selection spends most time.
    """
    kind = np.int8 if len(probabilities) <= np.iinfo(np.int8).max else np.int32
    best = probabilities[0].copy()
    found = np.zeros(best.shape, dtype=kind)
    for place in range(1, len(probabilities)):
        higher = (probabilities[place] > best).astype(kind)
        np.maximum(found, higher * kind(place), out=found)  # class indices ascend
        np.maximum(best, probabilities[place], out=best)
    return found


_Ranking = tuple[Int64[np.ndarray, "clips"], Bool[np.ndarray, "clips"], Int64[np.ndarray, "scores"]]


def _ranking(scores: Float[np.ndarray, "clips"], targets: Bool[np.ndarray, "clips"]) -> _Ranking:
    """Return clips by descending score, whether each has the label, and the last clip of every distinct score."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True).nonzero()[0]
    return order, targets[order], last


def _average_precision(
    weights: Float[np.ndarray, "samples clips"],
    order: Int64[np.ndarray, "clips"],
    targets: Bool[np.ndarray, "clips"],
    last: Int64[np.ndarray, "scores"],
) -> Float[np.ndarray, "samples"]:
    """Compute :func:`audio_lightning.metrics.multilabel.average_precision` with weights; 0 without positive clips."""
    ranked = weights[:, order]
    guesses = ranked.cumsum(axis=1)[:, last]
    hits = (ranked * targets).cumsum(axis=1)[:, last]
    gained = np.diff(hits, axis=1, prepend=0.0)
    return (hits / np.maximum(guesses, 1) * gained).sum(axis=1) / np.maximum(hits[:, -1], 1)
