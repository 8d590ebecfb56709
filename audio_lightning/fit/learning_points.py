"""Points of a learning curve, computed from the test predictions of its trainings."""

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
    """Score trainings on different shares of the training clips, on their common test clips.

    A gain is the difference from the training on the next smaller share. Its 95 % interval is from a bootstrap of
    groups, or from the rule of three if no clip distinguishes the two trainings. It does not include the variance of
    training, because each network was trained once.

    Args:
        name: name of the candidate.
        folders: folders of the finished trainings; trainings that reached their time limit are left out.
        metric: one of :data:`audio_lightning.fit.settings.METRICS`.

    Returns:
        The points by share, and a sentence that describes them; both empty if there are fewer than two points.

    Raises:
        ConfigError: the metric is not supported.
        DataError: the trainings are on different recordings.
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
    """Return the metric of each training: on all groups in the first row, then on bootstraps of the groups."""
    scores = GroupScores(metric, found.targets, found.group, multilabel=found.multilabel)
    groups = scores.num_groups
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=BOOTSTRAPS)
    weights = np.concatenate([np.ones((1, groups)), drawn])
    probabilities = np.ascontiguousarray(np.moveaxis(found.probabilities, -1, 0))
    return scores.of(probabilities)(weights) * (-1 if scores.is_negated else 1)


def _interval(
    samples: Float[np.ndarray, "samples trainings"], place: int, found: OutOfFold, metric: str
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the gain over the next smaller share, clipped to the range of the metric."""
    groups = len(set(found.group.tolist()))
    if groups < 2:
        return None, None
    gains, before = samples[:, place] - samples[:, place - 1], float(samples[0, place - 1])
    gain, spread = float(gains[0]), float(gains[1:].std())
    half = float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2)) * spread if spread > 0 else 3 / groups
    if lower_is_better(metric):
        return gain - half, gain + half
    return max(-before, gain - half), min(1 - before, gain + half)
