"""Which groups of clips go together: many random draws, and of these the one with the best balance of classes.

The draws come first, so that another seed has other groups; a search for the best balance among all divisions would
find about the same one with every seed.
"""

import numpy as np
from jaxtyping import Bool, Float, Int64

DRAWS = 64
"""Draws of which the best one is taken: enough for a good balance, few enough for each seed to have its own."""

Counts = Int64[np.ndarray, "groups classes"]


def draw_groups(counts: Counts, fraction: float, rng: np.random.RandomState) -> Int64[np.ndarray, "drawn"]:
    """Some of the groups, with about the same share of every class.

    A draw goes through the groups in a random order, and takes each that brings the shares of the classes nearer to
    ``fraction``, until there are enough clips. Of a class it leaves two groups for the other parts of a split, or one
    where it has no more than two; this is given up where it would leave too little to draw. A class that then has no
    group drawn gets a random one of its smaller ones, if two are left.

    Args:
        counts: clips of every class in every group.
        fraction: share to draw.
        rng: what is drawn with.
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
    """A part, from 0 on, for every group: all parts have about the same share of every class.

    Groups are dealt one by one, each to the part that has least of its classes. The big ones come first, since small
    ones can make up for them, but only by their order of magnitude: those that have about as many clips come in a
    random order.

    Args:
        counts: clips of every class in every group.
        parts: number of parts, of which none is empty if there are as many groups.
        rng: what is dealt with.
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
    # The first parts get the first groups, so that which part is which is drawn, too.
    return rng.permutation(parts)[dealt[imbalance.argmin()]]


def draw_singly(
    strata: Int64[np.ndarray, "clips"], fraction: float, rng: np.random.RandomState
) -> Int64[np.ndarray, "drawn"]:
    """Positions of some of the clips: the same share of every class, at least one of each that has three."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    counts = np.bincount(strata)
    wanted = np.maximum(np.rint(fraction * counts), counts >= 3).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < wanted[strata[order]]])


def deal_singly(
    strata: Int64[np.ndarray, "clips"], parts: int, rng: np.random.RandomState
) -> Int64[np.ndarray, "clips"]:
    """A part, from 0 on, for every clip: sizes differ by one clip at most, and so do those of every class."""
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
    """All draws at once, one group of each at a time; ``sparing`` ones leave some groups of every class."""
    holds = share > 0
    number = holds.sum(axis=0)
    spare = np.tile(number - np.where(number > 2, 2, 1), (len(orders), 1))
    lacking, wanted = np.full((len(orders), share.shape[1]), fraction), np.full(len(orders), fraction)
    drawn, every, smallest = np.zeros(orders.shape, dtype=bool), np.arange(len(orders)), size.min()
    for group in orders.T:
        gain = share[group]
        # Less lacks afterwards, lacking**2 > (lacking - gain)**2, and the number of clips comes nearer, too.
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
