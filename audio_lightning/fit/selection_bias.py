"""Correction of selection bias: bootstrap bias correction of cross-validation (BBC-CV).

The score of the best of many candidates on the clips that chose it is optimistic. Tsamardinos, Greasidou and
Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation" (Machine Learning
107, 2018), repeat the selection on bootstraps of the out-of-fold predictions and score each selection on its out-of-bag
clips. Nothing is trained. Here groups of clips are sampled, because clips of a recording or speaker are not
independent, and the selection uses the same code as that of the final ensemble.

The percentiles of these scores are not a 95 % interval: an out-of-bag part has 37 % of the groups, and its score varies
more than that of the whole. In simulations with 5 to 500 groups, such intervals covered the true value in 96 to 100 %
of the cases and were a third too wide. An out-of-bag part is a subsample of r of G groups with d = G - r left out, so
the variance of the mean is r / d times that of the scores: the delete-d jackknife (Shao and Wu, "A General Theory for
Jackknife Variance Estimation", Annals of Statistics 17, 1989). The interval is Wilson's with that variance and
Student's t, as for single runs (:mod:`audio_lightning.training.intervals`); in the same simulations it covers 93 to
100 %.

Metrics whose mean depends on the number of clips, such as average precision, are those of out-of-bag parts, which are
smaller than the whole.

The networks are fixed: the interval does not include the variance of training with other seeds or recordings.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from audio_lightning.fit.ensemble_selection import Library, SelectionSettings
from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.out_of_fold import OutOfFold
from audio_lightning.training.intervals import CONFIDENCE, wilson


@dataclass(frozen=True)
class AfterSelection:
    """Metric of a selected ensemble, corrected for selection bias.

    Attributes:
        metric: name of the metric.
        apparent: optimistic value on the clips of the selection.
        mean: expected value on new recordings. Each selection uses 63 % of the groups, so this is slightly pessimistic
            if candidates differ.
        low, high: ends of the 95 % interval; None with a single group.
        groups: number of independent groups.
        bootstraps: number of bootstraps.
    """

    metric: str
    apparent: float
    mean: float
    low: float | None
    high: float | None
    groups: int
    bootstraps: int

    @property
    def gap(self) -> float:
        """Selection bias of the apparent value: positive for an accuracy, negative for a loss."""
        return self.apparent - self.mean

    @property
    def gap_interval(self) -> tuple[float, float] | None:
        """95 % interval of the gap, given the apparent value."""
        return None if self.low is None or self.high is None else (self.apparent - self.high, self.apparent - self.low)


def correct_for_selection(
    predictions: OutOfFold, metric: str, settings: SelectionSettings, *, bootstraps: int = 500, seed: int = 0
) -> AfterSelection:
    """Estimate the metric on new recordings of the ensemble that :func:`.select_ensemble` selects.

    Args:
        predictions: predictions without gaps, see :meth:`OutOfFold.complete`. Candidates may be stopped early only by
            their validation clips: stopping by out-of-fold predictions is a selection that is not repeated here.
        metric: one of :data:`audio_lightning.fit.settings.METRICS`.
        settings: settings of the selection.
        bootstraps: number of bootstraps.
        seed: seed of the random generator.

    Raises:
        ConfigError: the metric is not supported.
    """
    scores = GroupScores(metric, predictions.targets, predictions.group, multilabel=predictions.multilabel)
    library = Library(predictions.probabilities, scores)
    sign = -1 if scores.is_negated else 1
    every = np.ones((1, scores.num_groups))
    apparent = sign * float(library.scores(library.select(every, settings), every)[0])
    if scores.num_groups < 2:
        return AfterSelection(metric, apparent, math.nan, None, None, scores.num_groups, 0)
    in_bag = bootstrap_groups(scores.num_groups, bootstraps, np.random.default_rng(seed))
    out_of_bag = sign * library.scores(library.select(in_bag, settings), (in_bag == 0).astype(float))
    mean = float(out_of_bag.mean())
    low, high = _interval(out_of_bag, scores.num_groups, bounded=not scores.is_negated)
    return AfterSelection(metric, apparent, mean, low, high, scores.num_groups, bootstraps)


def bootstrap_groups(groups: int, bootstraps: int, rng: np.random.Generator) -> Float[np.ndarray, "bootstraps groups"]:
    """Sample groups with replacement, with at least one group left out; return the count of each group."""
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=bootstraps)
    while (full := (drawn > 0).all(axis=1)).any():
        drawn[full] = rng.multinomial(groups, np.full(groups, 1 / groups), size=int(full.sum()))
    return drawn.astype(float)


def _interval(scores: Float[np.ndarray, "bootstraps"], groups: int, *, bounded: bool) -> tuple[float, float]:
    share = (1 - 1 / groups) ** groups  # of the groups that are out of bag, r / G
    mean = float(scores.mean())
    variance = share / (1 - share) * groups / (groups - 1) * float(scores.var())
    t = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2))
    if not bounded:
        half = t * math.sqrt(variance)
        return max(0.0, mean - half), mean + half
    binomial = mean * (1 - mean)
    # All correct, or all wrong: the effective size is the number of groups.
    size = binomial / variance if variance > 0 and binomial > 0 else groups
    return wilson(mean, size, t)
