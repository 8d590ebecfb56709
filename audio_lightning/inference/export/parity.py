"""Whether an exported classifier gives the probabilities of the one it was made from, and how fast it is."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_lightning.core.errors import ConfigError

MOST_DIFFERENCE = 1e-4
"""Largest difference of a probability."""

TIMED = 20
"""Clips that are timed, one by one."""

AT_ONCE = 16
"""Clips of a batch."""

OTHER_LENGTHS = (0.75, 1.5)
"""Of the usual length, that a graph for clips of any length is tried on."""

Predict = Callable[[Float[np.ndarray, "batch samples"]], Float[np.ndarray, "batch classes"]]
"""From clips to probabilities."""


@dataclass(frozen=True)
class Parity:
    """A comparison on real clips.

    Attributes:
        clips: number of them.
        max_difference: of a probability.
        torch_milliseconds: of one clip, the median.
        runtime_milliseconds: the same in the runtime.
    """

    clips: int
    max_difference: float
    torch_milliseconds: float
    runtime_milliseconds: float

    def to_plain(self) -> dict[str, Any]:
        """For the metadata of a file."""
        return {name: value if name == "clips" else float(f"{value:.3g}") for name, value in asdict(self).items()}


def compare(classifier: Predict, exported: Predict, clips: Float[np.ndarray, "clips samples"]) -> Parity:
    """Compare both on clips, all at once and one by one, and time them.

    Args:
        classifier: what was exported.
        exported: the result.
        clips: real ones.
    """
    expected = in_batches(classifier, clips)
    found = [in_batches(exported, clips), np.concatenate([exported(clip[None]) for clip in clips[:TIMED]])]
    difference = max(largest(expected[: len(some)], some) for some in found)
    some = clips[:TIMED]
    return Parity(len(clips), difference, _milliseconds(classifier, some), _milliseconds(exported, some))


def in_batches(predict: Predict, clips: Float[np.ndarray, "clips samples"]) -> Float[np.ndarray, "clips classes"]:
    """The probabilities of any number of clips."""
    return np.concatenate([predict(clips[start : start + AT_ONCE]) for start in range(0, len(clips), AT_ONCE)])


def largest(expected: Float[np.ndarray, "batch classes"], found: Float[np.ndarray, "batch classes"]) -> float:
    """The largest difference of a probability; infinite where one is NaN."""
    difference = np.abs(expected.astype(np.float64) - found)
    return float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")


def require_parity(parity: Parity, what: str) -> None:
    """Refuse a model that gives other probabilities.

    Raises:
        ConfigError: nothing is written.
    """
    if not parity.max_difference <= MOST_DIFFERENCE:
        raise ConfigError(
            f"{what} differs from the classifier by up to {parity.max_difference:.2g} in a probability on "
            f"{parity.clips} clips, at most {MOST_DIFFERENCE:g} is allowed; nothing was written"
        )


def agrees_at_other_lengths(classifier: Predict, exported: Predict, clips: Float[np.ndarray, "clips samples"]) -> bool:
    """Whether both agree on shorter and longer clips, too."""
    samples = clips.shape[1]
    for share in OTHER_LENGTHS:
        other = np.resize(clips[:2], (2, round(share * samples)))
        try:
            if largest(classifier(other), exported(other)) > MOST_DIFFERENCE:
                return False
        except Exception:  # either gives up on this length, each with errors of its own
            return False
    return True


def _milliseconds(predict: Predict, clips: Float[np.ndarray, "clips samples"]) -> float:
    """Median time of one clip, after one that finds memory and kernels."""
    predict(clips[:1])
    taken = []
    for clip in clips:
        started = time.perf_counter()
        predict(clip[None])
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)
