"""Comparison of an exported classifier with the original: differences of probabilities, and prediction times."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_lightning.core.errors import ConfigError

MOST_DIFFERENCE = 1e-4
"""Largest accepted absolute difference of a probability."""

TIMED = 20
"""Number of clips that are timed, one by one."""

AT_ONCE = 16
"""Clips in a batch."""

OTHER_LENGTHS = (0.75, 1.5)
"""Clip lengths, as shares of the usual length, on which a graph for any length is tested."""

Predict = Callable[[Float[np.ndarray, "batch samples"]], Float[np.ndarray, "batch classes"]]
"""Function from clips to probabilities."""


@dataclass(frozen=True)
class Parity:
    """Result of a comparison on real clips.

    Attributes:
        clips: number of clips.
        max_difference: largest difference of a probability.
        torch_milliseconds: median prediction time of one clip with torch.
        runtime_milliseconds: median prediction time of one clip in the target runtime.
    """

    clips: int
    max_difference: float
    torch_milliseconds: float
    runtime_milliseconds: float

    def to_plain(self) -> dict[str, Any]:
        """Return a plain dictionary with rounded values, for the metadata of a file."""
        return {name: value if name == "clips" else float(f"{value:.3g}") for name, value in asdict(self).items()}


def compare(classifier: Predict, exported: Predict, clips: Float[np.ndarray, "clips samples"]) -> Parity:
    """Compare an exported classifier with the original on clips, in batches and one by one, and time both.

    Args:
        classifier: prediction with the original classifier.
        exported: prediction with the exported classifier.
        clips: real clips.
    """
    expected = in_batches(classifier, clips)
    found = [in_batches(exported, clips), np.concatenate([exported(clip[None]) for clip in clips[:TIMED]])]
    difference = max(largest(expected[: len(some)], some) for some in found)
    some = clips[:TIMED]
    return Parity(len(clips), difference, _milliseconds(classifier, some), _milliseconds(exported, some))


def in_batches(predict: Predict, clips: Float[np.ndarray, "clips samples"]) -> Float[np.ndarray, "clips classes"]:
    """Predict any number of clips in batches."""
    return np.concatenate([predict(clips[start : start + AT_ONCE]) for start in range(0, len(clips), AT_ONCE)])


def clip_by_clip(predict: Predict) -> Predict:
    """Return a function for batches of any size from one for batches of one clip."""
    return lambda clips: np.concatenate([predict(clip[None]) for clip in clips])


def largest(expected: Float[np.ndarray, "batch classes"], found: Float[np.ndarray, "batch classes"]) -> float:
    """Return the largest absolute difference of a probability; infinity if one is NaN or infinite."""
    difference = np.abs(expected.astype(np.float64) - found)
    return float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")


def require_parity(parity: Parity, what: str) -> None:
    """Check that the largest difference is accepted.

    Raises:
        ConfigError: the difference exceeds :data:`MOST_DIFFERENCE`.
    """
    if not parity.max_difference <= MOST_DIFFERENCE:
        raise ConfigError(
            f"{what}: nothing was written, as probabilities differ from the classifier by up to "
            f"{parity.max_difference:.2g} on {parity.clips} clips; at most {MOST_DIFFERENCE:g} is accepted"
        )


def agrees_at_other_lengths(classifier: Predict, exported: Predict, clips: Float[np.ndarray, "clips samples"]) -> bool:
    """Return whether both classifiers also agree on shorter and longer clips."""
    samples = clips.shape[1]
    for share in OTHER_LENGTHS:
        other = np.resize(clips[:2], (2, round(share * samples)))
        try:
            if largest(classifier(other), exported(other)) > MOST_DIFFERENCE:
                return False
        except Exception:  # either may fail on this length, with errors of its own
            return False
    return True


def _milliseconds(predict: Predict, clips: Float[np.ndarray, "clips samples"]) -> float:
    """Median prediction time of one clip, after a warm-up."""
    predict(clips[:1])
    taken = []
    for clip in clips:
        started = time.perf_counter()
        predict(clip[None])
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)
