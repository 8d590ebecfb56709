"""Greedy ensemble selection with replacement over out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models" (ICML 2004): starting from the
best candidates, the one is added again and again that improves the mean of the probabilities most, and the ensemble is
kept that was best on the way. A candidate that is added several times has a larger weight.

The same code selects on many samples of groups at once, so that :mod:`.selection_bias` repeats it for every bootstrap.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.out_of_fold import OutOfFold

DIGITS = 9
"""Decimals of the scores that are compared: those that differ by rounding alone are ties."""

Compositions = Int64[np.ndarray, "samples candidates"]
"""How often each candidate was added, for every sample."""


@dataclass(frozen=True)
class SelectionSettings:
    """How an ensemble is selected.

    Attributes:
        max_members: most different candidates in it; 1: the best one is chosen alone.
        rounds: most additions, from which the weights follow; as in the paper, the best ensemble on the way is kept.
        initial: most candidates of the sorted initialization: the best one, the best two and so on are tried, and
            selection begins with those that are best together. Starting from one alone overfits (section 2.2 there).
        costs: of every candidate in an ensemble, however large its weight, such as seconds a clip; empty: none.
        most_cost: most that the members cost together. Candidates that alone cost more are never selected.
    """

    max_members: int = 1
    rounds: int = 10
    initial: int = 5
    costs: tuple[float, ...] = ()
    most_cost: float = math.inf


@dataclass(frozen=True)
class SelectedEnsemble:
    """An ensemble of candidates, whose answer is the weighted mean of their probabilities.

    Attributes:
        metric: by which it was selected.
        weights: of its members by name, which sum to 1; the largest first.
        score: of the metric on the clips that it was selected on, and so too good (:mod:`.selection_bias`).
        single: the same of every candidate alone.
    """

    metric: str
    weights: dict[str, float]
    score: float
    single: dict[str, float]


def select_ensemble(predictions: OutOfFold, metric: str, settings: SelectionSettings) -> SelectedEnsemble:
    """Select an ensemble on all clips.

    Args:
        predictions: without gaps, see :meth:`OutOfFold.complete`; of equal candidates the first one is preferred.
        metric: one of :data:`audio_lightning.fit.group_scores.SUPPORTED`.
        settings: how.

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
    """Out-of-fold probabilities of an ensemble."""
    places = [predictions.candidates.index(name) for name in ensemble.weights]
    weights = np.array(list(ensemble.weights.values()), dtype=np.float32)
    return np.tensordot(weights, predictions.probabilities[places], 1)


class Library:
    """Candidates to select from, each by its out-of-fold probabilities.

    Args:
        probabilities: of every candidate.
        group_scores: what scores them on samples of groups.
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
            weights: of the groups; a sample needs a group with a weight.
            settings: how; one candidate at least costs no more than there may be spent.
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
        # Samples that begin with fewer members are in step with the others after one addition for each that they lack.
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
        """Score of one ensemble in each sample."""
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
        """Every ensemble with the candidate that improves it most, and its score."""
        grown, scores = compositions.copy(), np.zeros(len(compositions))
        for composition, rows in _distinct(compositions):
            members = composition > 0
            affordable = costs + costs[members].sum() <= most_cost
            allowed = members if np.count_nonzero(members) >= most else members | affordable
            candidates = allowed.nonzero()[0]
            means = self._sum(composition)[:, None] + self._probabilities[:, candidates]
            if self._group_scores.is_negated:  # a loss; of the other metrics nothing depends on the sum
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
    """Replace the best ensembles where the current ones are better; of equal ones the earlier, smaller one stays."""
    better = score > best_score
    best[better], best_score[better] = current[better], score[better]


def _distinct(compositions: Compositions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every composition that occurs, and the samples that have it."""
    found, inverse = np.unique(compositions, axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(found)))
    return list(zip(found, np.split(order, ends[:-1])))
