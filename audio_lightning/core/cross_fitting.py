"""Cross-fitting: what is fitted to predictions is applied to those of other groups."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Shaped


def folds_of_groups(group: Shaped[np.ndarray, "clips"], most: int) -> Iterator[Bool[np.ndarray, "clips"]]:
    """Parts of the clips that share no group, together all of them; none where there is one group only.

    Args:
        group: of each clip.
        most: number of parts, unless there are fewer groups.

    Yields:
        Whether each clip is in the part.
    """
    _, number = np.unique(group, return_inverse=True)
    folds = min(most, int(number.max(initial=0)) + 1)
    for fold in range(folds if folds > 1 else 0):
        yield number % folds == fold
