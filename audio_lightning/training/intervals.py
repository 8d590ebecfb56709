"""Confidence intervals over grouped clips: accuracy, balanced accuracy, paired differences, jackknife."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95

PRIOR_GROUPS = 2
"""Prior weight, in groups, of the assumption that the clips of a group are all correct or all wrong. With few groups,
the variance between groups is uncertain: without the prior, the intervals for an accuracy of 0.97 over 50 groups cover
it in 91 % of the cases only."""

JACKKNIFE_PARTS = 50
"""Maximum number of parts of the jackknife, over which the groups are distributed; more parts gain little."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: lower end.
        high: upper end.
        groups: number of independent groups; equal to the number of clips if each clip is its own group.
    """

    low: float
    high: float
    groups: int


def wilson(proportion: float, size: float, quantile: float | None = None) -> tuple[float, float]:
    """Compute the score interval of a proportion (Wilson 1927, Journal of the American Statistical Association 22).

    Args:
        proportion: observed share, from 0 to 1.
        size: number of independent observations; an effective one need not be a whole number.
        quantile: quantile of the standardized proportion; None: the normal quantile for :data:`CONFIDENCE`.

    Returns:
        The ends of the interval.
    """
    z = float(ndtri((1 + CONFIDENCE) / 2)) if quantile is None else quantile
    shrink = 1 + z**2 / size
    center = (proportion + z**2 / (2 * size)) / shrink
    half = z / shrink * math.sqrt(proportion * (1 - proportion) / size + z**2 / (4 * size**2))
    return max(0.0, center - half), min(1.0, center + half)


def accuracy_interval(correct: Bool[np.ndarray, "clips"], group: Shaped[np.ndarray, "clips"]) -> Interval | None:
    """Compute the confidence interval of the accuracy over grouped clips.

    If every clip is its own group, this is the Wilson interval. Otherwise it is the Wilson interval with an effective
    sample size and Student's t (Korn and Graubard 1998, Survey Methodology 24). The effective size is the number of
    independent clips with the same variance as that between groups. A cluster bootstrap estimates the same variance,
    but with random noise. In the simulation of the tests, a percentile bootstrap over groups covers 47 to 94 %; this
    interval covers 93 % or more (up to 100 % with ten groups that do not matter).

    Args:
        correct: whether each clip is predicted correctly.
        group: group of each clip, such as its recording, speaker or note.

    Returns:
        None if there are fewer than two groups.
    """
    return balanced_accuracy_interval(correct, np.zeros(len(correct), np.int64), group)


def balanced_accuracy_interval(
    correct: Bool[np.ndarray, "clips"], target: Int64[np.ndarray, "clips"], group: Shaped[np.ndarray, "clips"]
) -> Interval | None:
    """Compute the confidence interval of the balanced accuracy, see :func:`accuracy_interval`.

    Args:
        correct: whether each clip is predicted correctly.
        target: class of each clip.
        group: group of each clip, such as its recording, speaker or note.

    Returns:
        None if there are fewer than two groups.
    """
    _, target = np.unique(target, return_inverse=True)
    names, group = np.unique(group, return_inverse=True)
    groups = len(names)
    if groups < 2:
        return None
    sizes = np.bincount(target).astype(np.float64)
    classes = len(sizes)
    recall = np.bincount(target, weights=correct) / sizes
    mean = float(recall.mean())
    groups_of = np.bincount(np.unique(np.stack([target, group]), axis=1)[0]).astype(np.float64)
    # Contribution of each group to the error of the mean (linearization), corrected by n / (n - 1) in every class.
    scale = np.sqrt(groups_of / np.maximum(groups_of - 1, 1)) / sizes / classes
    error = np.bincount(group, weights=(correct - recall[target]) * scale[target])
    chance = mean * (1 - mean)
    # A class with a single group has no variance between groups: its clips are assumed all correct or all wrong.
    variance = float(error @ error) + chance * np.count_nonzero(groups_of == 1) / classes**2
    independent, together = (classes**2 / float((1 / count).sum()) for count in (sizes, groups_of))
    freedom = max(1.0, groups - classes * groups / groups_of.sum())  # one degree of freedom less per class
    if chance < 1e-12:  # all correct, or all wrong
        size = together
    else:
        size = (freedom + PRIOR_GROUPS) / (freedom * variance / chance + PRIOR_GROUPS / together)
    quantile = None if groups == len(correct) else float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return Interval(*wilson(mean, min(independent, size), quantile), groups)


def difference_interval(difference: Float[np.ndarray, "clips"], group: Shaped[np.ndarray, "clips"]) -> Interval | None:
    """Compute the confidence interval of the mean of paired differences over grouped clips, by Student's t.

    The variance has a lower bound: that of one pair per group without any difference, plus two pairs that differ
    (Agresti and Min 2005, Statistics in Medicine 24). Without it, the interval of two classifiers that agree on ten
    clips would have zero width.

    Args:
        difference: difference between two results of each clip, both from 0 to 1.
        group: group of each clip, such as its recording, speaker or note.

    Returns:
        None if there are fewer than two groups.
    """
    names, group = np.unique(group, return_inverse=True)
    groups = len(names)
    if groups < 2:
        return None
    mean = float(difference.mean())
    error = np.bincount(group, weights=difference - mean) / len(difference)
    variance = max(groups / (groups - 1) * float(error @ error), 1 / (groups + PRIOR_GROUPS) ** 2)
    half = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(max(-1.0, mean - half), min(1.0, mean + half), groups)


def jackknife_interval(
    statistic: Callable[[Int64[np.ndarray, "some"]], float], group: Shaped[np.ndarray, "clips"]
) -> Interval | None:
    """Compute the interval of a smooth statistic by the delete-a-group jackknife (Kott 2001) and Student's t.

    Args:
        statistic: function from positions of clips to the statistic of those clips.
        group: group of each clip, such as its recording, speaker or note; groups are never divided.

    Returns:
        None if there are fewer than two groups, or if the statistic is not finite.
    """
    names, group = np.unique(group, return_inverse=True)
    parts = min(JACKKNIFE_PARTS, len(names))
    if parts < 2:
        return None
    whole = statistic(np.arange(len(group)))
    without = np.array([statistic(np.flatnonzero(group % parts != part)) for part in range(parts)])
    if not np.isfinite([whole, *without]).all():
        return None
    variance = (parts - 1) / parts * float(np.square(without - without.mean()).sum())
    half = float(stdtrit(parts - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Interval(whole - half, whole + half, len(names))
