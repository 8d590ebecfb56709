"""Greedy ensemble selection with replacement over out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models" (ICML 2004): selection starts
from the best candidates. Each round adds the candidate that improves the mean of the probabilities most. The result is
the best ensemble of all rounds. A candidate that is added several times has a larger weight.

The same code selects on many samples of groups at once, so that :mod:`.selection_bias` can repeat it on bootstraps.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.out_of_fold import OutOfFold

DIGITS = 9
"""Decimal places of compared scores, so that differences by rounding count as ties."""

Compositions = Int64[np.ndarray, "samples candidates"]
"""Number of times that each candidate was added, for every sample."""


@dataclass(frozen=True)
class SelectionSettings:
    """Settings of ensemble selection.

    Attributes:
        max_members: maximum number of distinct candidates; 1: the best candidate alone.
        rounds: maximum number of additions, which determine the weights.
        initial: maximum number of candidates of the sorted initialization: the best one, the best two and so on are
            tried, and selection begins with the best of these ensembles. Starting from one candidate overfits (section
            2.2 of the paper).
        costs: cost of every candidate in an ensemble, independent of its weight, such as seconds per clip; empty: none.
        most_cost: maximum total cost of the members. Candidates that cost more alone are never selected.
    """

    max_members: int = 1
    rounds: int = 10
    initial: int = 5
    costs: tuple[float, ...] = ()
    most_cost: float = math.inf


@dataclass(frozen=True)
class SelectedEnsemble:
    """Ensemble of candidates, which predicts the weighted mean of their probabilities.

    Attributes:
        metric: metric of the selection.
        weights: weights of the members by name, the largest first; they sum to 1.
        score: metric on the clips of the selection, and therefore optimistic (:mod:`.selection_bias`).
        single: the same metric for every candidate alone.
    """

    metric: str
    weights: dict[str, float]
    score: float
    single: dict[str, float]


def select_ensemble(predictions: OutOfFold, metric: str, settings: SelectionSettings) -> SelectedEnsemble:
    """Select an ensemble on all clips.

    Args:
        predictions: predictions without gaps, see :meth:`OutOfFold.complete`; the first of equal candidates wins.
        metric: one of :data:`audio_lightning.fit.settings.METRICS`.
        settings: settings of the selection.

    Raises:
        ConfigError: the metric is not supported.
    """
    scores = GroupScores(metric, predictions.targets, predictions.group, multilabel=predictions.multilabel)
    library = Library(predictions.probabilities, scores)
    every = np.ones((1, scores.num_groups))
    composition = library.select(every, settings)
    sign = -1 if scores.is_negated else 1
    additions = composition[0]
    order = [place for place in np.argsort(-additions, kind="stable") if additions[place]]
    return SelectedEnsemble(
        metric,
        {predictions.candidates[place]: float(additions[place] / additions.sum()) for place in order},
        sign * float(library.scores(composition, every)[0]),
        dict(zip(predictions.candidates, (sign * library.single(every)[0]).tolist())),
    )


def combined(predictions: OutOfFold, ensemble: SelectedEnsemble) -> Float32[np.ndarray, "clips classes"]:
    """Return the out-of-fold probabilities of an ensemble."""
    places = [predictions.candidates.index(name) for name in ensemble.weights]
    weights = np.array(list(ensemble.weights.values()), dtype=np.float32)
    return np.tensordot(weights, predictions.probabilities[places], 1)


class Library:
    """Library of candidates to select from, given by their out-of-fold probabilities.

    Args:
        probabilities: out-of-fold probabilities of every candidate.
        group_scores: metric on samples of groups.
    """

    def __init__(self, probabilities: Float[np.ndarray, "candidates clips classes"], group_scores: GroupScores) -> None:
        self._probabilities = np.ascontiguousarray(np.moveaxis(probabilities, -1, 0), dtype=np.float32)
        self._group_scores = group_scores
        self.single = group_scores.of(self._probabilities)
        """Scores of all candidates alone, ``[samples, candidates]``."""

    @property
    def num_candidates(self) -> int:
        """Number of candidates."""
        return self._probabilities.shape[1]

    def select(self, weights: Float[np.ndarray, "samples groups"], settings: SelectionSettings) -> Compositions:
        """Select an ensemble in every sample.

        Args:
            weights: weights of the groups; each sample needs a group with a nonzero weight.
            settings: settings of the selection; at least one candidate must be within ``most_cost``.
        """
        costs = np.array(settings.costs or [0.0] * self.num_candidates)
        single = np.where(costs <= settings.most_cost, self.single(weights).round(DIGITS), -np.inf)
        order = np.argsort(-single, axis=1, kind="stable")
        most = min(settings.max_members, self.num_candidates)
        rows = np.arange(len(weights))
        current = np.zeros((len(weights), self.num_candidates), dtype=np.int64)
        current[rows, order[:, 0]] = 1
        best, best_score = current.copy(), single[rows, order[:, 0]]
        if most == 1:
            return best
        for place in range(1, min(most, settings.initial)):
            fits = (current > 0) @ costs + costs[order[:, place]] <= settings.most_cost
            current[rows[fits], order[fits, place]] = 1
            _keep(best, best_score, current, self.scores(current, weights).round(DIGITS))
        # Samples that begin with fewer members make more additions, until all samples have the same number.
        current = best.copy()
        for _ in range(settings.rounds - 1):
            growing = current.sum(axis=1) < settings.rounds
            current[growing], scores = self._grown(current[growing], weights[growing], most, costs, settings.most_cost)
            reached = np.full(len(weights), -np.inf)
            reached[growing] = scores
            _keep(best, best_score, current, reached)
        return best

    def scores(
        self, compositions: Compositions, weights: Float[np.ndarray, "samples groups"]
    ) -> Float[np.ndarray, "samples"]:
        """Return the score of one ensemble per sample."""
        found = np.zeros(len(compositions))
        for composition, rows in _distinct(compositions):
            mean = self._sum(composition) / np.float32(composition.sum())
            found[rows] = self._group_scores.of(mean[:, None])(weights[rows])[:, 0]
        return found

    def _grown(
        self,
        compositions: Compositions,
        weights: Float[np.ndarray, "samples groups"],
        most: int,
        costs: Float[np.ndarray, "candidates"],
        most_cost: float,
    ) -> tuple[Compositions, Float[np.ndarray, "samples"]]:
        """Add the best candidate to every ensemble; return the new ensembles and their scores."""
        grown, scores = compositions.copy(), np.zeros(len(compositions))
        for composition, rows in _distinct(compositions):
            members = composition > 0
            affordable = costs + costs[members].sum() <= most_cost
            allowed = members if np.count_nonzero(members) >= most else members | affordable
            candidates = allowed.nonzero()[0]
            means = self._sum(composition)[:, None] + self._probabilities[:, candidates]
            if self._group_scores.is_negated:  # a loss; other metrics are the same for sum and mean
                means /= np.float32(composition.sum() + 1)
            found = self._group_scores.of(means)(weights[rows]).round(DIGITS)
            chosen = found.argmax(axis=1)
            grown[rows, candidates[chosen]] += 1
            scores[rows] = found[np.arange(len(rows)), chosen]
        return grown, scores

    def _sum(self, composition: Int64[np.ndarray, "candidates"]) -> Float32[np.ndarray, "classes clips"]:
        total = np.zeros(self._probabilities[:, 0].shape, dtype=np.float32)
        for place in composition.nonzero()[0]:
            total += np.float32(composition[place]) * self._probabilities[:, place]
        return total


def _keep(
    best: Compositions,
    best_score: Float[np.ndarray, "samples"],
    current: Compositions,
    score: Float[np.ndarray, "samples"],
) -> None:
    """Replace the best ensembles by better current ones; in a tie, the earlier, smaller ensemble is kept."""
    better = score > best_score
    best[better], best_score[better] = current[better], score[better]


def _distinct(compositions: Compositions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the distinct compositions, each with the samples that have it."""
    found, inverse = np.unique(compositions, axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(found)))
    return list(zip(found, np.split(order, ends[:-1])))
