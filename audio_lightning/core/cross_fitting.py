"""Cross-fitting: the calibration and thresholds of each clip are fitted to clips of other groups."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Shaped


def folds_of_groups(group: Shaped[np.ndarray, "clips"], most: int) -> Iterator[Bool[np.ndarray, "clips"]]:
    """Divide clips into folds that share no group; no fold if there is only one group.

    Args:
        group: group of each clip.
        most: number of folds, unless there are fewer groups.

    Yields:
        A mask over the clips for each fold: True for clips in the fold.
    """
    _, number = np.unique(group, return_inverse=True)
    folds = min(most, int(number.max(initial=0)) + 1)
    for fold in range(folds if folds > 1 else 0):
        yield number % folds == fold
