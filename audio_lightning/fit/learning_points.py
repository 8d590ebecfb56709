"""The points of a learning curve, from the test predictions of its trainings."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from audio_lightning.compare.fit_summary import LearningPoint
from audio_lightning.compare.trials import TrialFolder
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.group_scores import GroupScores
from audio_lightning.fit.learning import ran_whole
from audio_lightning.fit.out_of_fold import OutOfFold, read_out_of_fold
from audio_lightning.training.intervals import CONFIDENCE

BOOTSTRAPS = 1000


def learning_points(name: str, folders: Sequence[TrialFolder], metric: str) -> tuple[list[LearningPoint], str]:
    """Score trainings that differ in the share of their training part, on the test part that they have in common.

    The interval of a gain is over groups, by bootstraps of the difference on the same clips; where no clip tells the
    two apart, it is the rule of three. It holds the networks fixed, each of which was trained once.

    Args:
        name: of the candidate.
        folders: of the finished trainings; those that the time ended are left out.
        metric: one of :data:`audio_lightning.fit.group_scores.SUPPORTED`.

    Returns:
        The points by their shares, and a sentence that says what they are of; neither where there are fewer than two.

    Raises:
        ConfigError: the metric is not supported.
        DataError: the trainings are of different recordings.
    """
    clips = {str(folder.path): int(folder.read_metrics()["num_clips/train"]) for folder in folders}
    whole = sorted((folder for folder in folders if ran_whole(folder)), key=lambda folder: clips[str(folder.path)])
    found = read_out_of_fold({str(folder.path): [folder] for folder in whole}).complete()[0] if whole else None
    if found is None or len(found.candidates) < 2:
        return [], ""
    most = max(clips.values())
    samples = _scores(found, metric)
    points = []
    for place, path in enumerate(found.candidates):
        gain = _interval(samples, place, found, metric) if place else (None, None)
        points.append(LearningPoint(clips[path] / most, float(samples[0, place]), *gain))
    unit = "recordings" if found.recordings else "clips"
    note = f"{name}, trained once on each share of {most:,} clips for as many steps, and tested on one fold"
    return points, f"{note} of {len(found.clips):,} {unit}."


def _scores(found: OutOfFold, metric: str) -> Float[np.ndarray, "samples trainings"]:
    """The metric of each training on all groups, and then on bootstraps of them."""
    scores = GroupScores(metric, found.targets, found.group, multilabel=found.multilabel)
    groups = scores.num_groups
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=BOOTSTRAPS)
    weights = np.concatenate([np.ones((1, groups)), drawn])
    probabilities = np.ascontiguousarray(np.moveaxis(found.probabilities, -1, 0))
    return scores.of(probabilities)(weights) * (-1 if scores.is_negated else 1)


def _interval(
    samples: Float[np.ndarray, "samples trainings"], place: int, found: OutOfFold, metric: str
) -> tuple[float, float] | tuple[None, None]:
    """Of the gain of a training over the one before it; a metric between 0 and 1 can gain no more than that."""
    groups = len(set(found.group.tolist()))
    if groups < 2:
        return None, None
    gains, before = samples[:, place] - samples[:, place - 1], float(samples[0, place - 1])
    gain, spread = float(gains[0]), float(gains[1:].std())
    half = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2)) * spread if spread > 0 else 3 / groups
    if lower_is_better(metric):
        return gain - half, gain + half
    return max(-before, gain - half), min(1 - before, gain + half)
