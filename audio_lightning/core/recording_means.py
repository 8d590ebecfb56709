"""Mean of the windows of a recording, weighted by their duration."""

import numpy as np
from jaxtyping import Float, Int, Num


def recording_means(
    recording: Int[np.ndarray, "windows"],
    values: Num[np.ndarray, "windows classes"],
    duration: Num[np.ndarray, "windows"],
) -> Float[np.ndarray, "recordings classes"]:
    """Average values over the windows of each recording, in double precision.

    The weight of a window is its duration without padding, so that every second of a recording counts the same. A last
    window of 0.3 s would otherwise count as much as a full one of 5 s.

    Args:
        recording: index of the recording of every window; each index from 0 to the largest occurs.
        values: values of every window, such as probabilities.
        duration: duration of every window, positive, in any unit.
    """
    weights = duration.astype(np.float64)[:, None]
    sums = np.zeros((recording.max() + 1, values.shape[1]))
    total = np.zeros((len(sums), 1))
    np.add.at(sums, recording, weights * values)
    np.add.at(total, recording, weights)
    return sums / total
