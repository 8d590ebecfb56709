"""Random assignment of groups to splits: the draw with the best class balance out of many.

Groups are drawn first and selected by balance second, so that each seed gives other groups. A search for the best
balance among all assignments would give about the same one for every seed.
"""

import numpy as np
from jaxtyping import Bool, Float, Int64

DRAWS = 64
"""Number of draws from which the best is selected: enough for good balance, few enough for variation between seeds."""

Counts = Int64[np.ndarray, "groups classes"]


def draw_groups(counts: Counts, fraction: float, rng: np.random.RandomState) -> Int64[np.ndarray, "drawn"]:
    """Draw groups with about the same share of every class.

    A draw visits the groups in random order, and adds each group that brings the shares of the classes closer to
    ``fraction``, until there are enough clips. It leaves at least two groups of every class for the other parts of a
    split, or one if the class has at most two groups; this rule is dropped if it would leave too little to draw. A
    class without a drawn group then gets a random one of its smaller groups, if two others remain.

    Args:
        counts: number of clips of every class in every group.
        fraction: share of the clips to draw.
        rng: random number generator.
    """
    counts = counts[:, counts.any(axis=0)]
    share, size = counts / counts.sum(axis=0), counts.sum(axis=1) / counts.sum()
    orders = np.argsort(rng.uniform(size=(DRAWS, len(counts))), axis=1)
    drawn = _scan(share, size, orders, fraction, sparing=True)
    if (drawn @ size).max() < fraction / 2:
        drawn = _scan(share, size, orders, fraction, sparing=False)
    for one, order in zip(drawn, orders):
        for column in np.flatnonzero(~(one @ (counts > 0))):
            holding = order[(counts[order, column] > 0) & ~one[order]]
            if len(holding) > 2:
                one[holding[size[holding] <= np.median(size[holding])][0]] = True
    imbalance = ((drawn @ share - fraction) ** 2).mean(axis=1) + (drawn @ size - fraction) ** 2
    return np.flatnonzero(drawn[imbalance.argmin()])


def deal_groups(counts: Counts, parts: int, rng: np.random.RandomState) -> Int64[np.ndarray, "groups"]:
    """Assign every group to a part, counted from 0, with about the same share of every class in all parts.

    Groups are assigned one by one, each to the part that has least of its classes. Large groups come first, since small
    ones can compensate for them, but only by order of magnitude: groups of similar size come in random order.

    Args:
        counts: number of clips of every class in every group.
        parts: number of parts; none is empty if there are at least as many groups.
        rng: random number generator.
    """
    counts = counts[:, counts.any(axis=0)]
    share, size = counts / counts.sum(axis=0), counts.sum(axis=1) / counts.sum()
    # The number of clips weighs as much as all classes together.
    share = np.column_stack([share, size * np.sqrt(share.shape[1])])
    magnitude = np.floor(np.log2(counts.sum(axis=1)))
    orders = np.argsort(rng.uniform(size=(DRAWS, len(counts))) - magnitude, axis=1)
    loads = np.zeros((DRAWS, parts, share.shape[1]))
    dealt, every = np.empty(orders.shape, dtype=np.int64), np.arange(DRAWS)
    for group in orders.T:
        part = np.einsum("dpc,dc->dp", loads, share[group]).argmin(axis=1)
        loads[every, part] += share[group]
        dealt[every, group] = part
    imbalance = loads.var(axis=1).sum(axis=1)
    # The first groups go to the first parts; permuting the parts removes this bias.
    return rng.permutation(parts)[dealt[imbalance.argmin()]]


def draw_singly(
    strata: Int64[np.ndarray, "clips"], fraction: float, rng: np.random.RandomState
) -> Int64[np.ndarray, "drawn"]:
    """Draw indices of clips: the same share of every class, and at least one clip of each class with three or more."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    counts = np.bincount(strata)
    wanted = np.maximum(np.rint(fraction * counts), counts >= 3).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < wanted[strata[order]]])


def deal_singly(
    strata: Int64[np.ndarray, "clips"], parts: int, rng: np.random.RandomState
) -> Int64[np.ndarray, "clips"]:
    """Assign every clip to a part, counted from 0; part sizes, in total and per class, differ by at most one clip."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    dealt = np.empty(len(strata), dtype=np.int64)
    dealt[order] = rng.permutation(parts)[np.arange(len(strata)) % parts]
    return dealt


def _scan(
    share: Float[np.ndarray, "groups classes"],
    size: Float[np.ndarray, "groups"],
    orders: Int64[np.ndarray, "draws groups"],
    fraction: float,
    *,
    sparing: bool,
) -> Bool[np.ndarray, "draws groups"]:
    """Perform all draws at once, one group at a time; with ``sparing``, leave some groups of every class."""
    holds = share > 0
    number = holds.sum(axis=0)
    spare = np.tile(number - np.where(number > 2, 2, 1), (len(orders), 1))
    lacking, wanted = np.full((len(orders), share.shape[1]), fraction), np.full(len(orders), fraction)
    drawn, every, smallest = np.zeros(orders.shape, dtype=bool), np.arange(len(orders)), size.min()
    for group in orders.T:
        gain = share[group]
        # A group is taken if it reduces the squared deficit, lacking**2 > (lacking - gain)**2, and improves the clip
        # count.
        taken = ((gain * (2 * lacking - gain)).sum(axis=1) > 0) & (2 * wanted > size[group])
        if sparing:
            taken &= ~(holds[group] & (spare < 1)).any(axis=1)
        lacking -= gain * taken[:, None]
        wanted -= size[group] * taken
        spare -= holds[group] & taken[:, None]
        drawn[every, group] = taken
        if (2 * wanted <= smallest).all():
            break
    return drawn
