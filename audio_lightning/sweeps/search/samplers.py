"""Optuna's samplers and pruners by name, seeded per trial; imported only by a search."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna import Study, pruners, samplers
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from audio_lightning.sweeps.search.space import listed

STARTUP = 10
"""Number of random trials before a sampler uses results; half as many before the median pruner stops trials."""

WARMUP = 3
"""Epochs in which the median pruner stops no trial, because early ranks of trials say little."""

POPULATION = 20
"""Population size of NSGA-II: with Optuna's 50, a search of a hundred trials would have two generations."""

SURPLUS = "surplus"
"""Attribute of a trial that does not count. True: requested when there were enough trials already, and not run. A time:
when it was given up, because its machine had stopped reporting."""

Space = dict[str, BaseDistribution]


def make_sampler(name: str, space: Space, seed: int | None) -> samplers.BaseSampler:
    """Make a sampler by name: ``tpe``, ``random``, ``grid``, ``cmaes`` or ``nsga2``."""
    if name == "grid":
        return GridInOrder(space, seed)
    make: dict[str, Callable[[int | None], samplers.BaseSampler]] = {
        "tpe": lambda seed: samplers.TPESampler(n_startup_trials=STARTUP, seed=seed),
        "random": lambda seed: samplers.RandomSampler(seed=seed),
        "cmaes": lambda seed: samplers.CmaEsSampler(warn_independent_sampling=False, seed=seed),
        "nsga2": lambda seed: samplers.NSGAIISampler(population_size=POPULATION, seed=seed),
    }
    return SeededByNumber(make[name], seed)


def make_pruner(name: str) -> pruners.BasePruner:
    """Make a pruner by name: ``none``, ``median`` or ``hyperband``."""
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP // 2, n_warmup_steps=WARMUP)
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.NopPruner()


class SeededByNumber(samplers.BaseSampler):
    """Sampler that is seeded per trial by the seed and the trial number.

    Its draws depend on these and on the reported results only. A single process is therefore reproducible, also after
    an interruption. Several processes that share a study and a seed draw different numbers, because trial numbers are
    unique. With a seed of None, draws are random.
    """

    def __init__(self, make: Callable[[int | None], samplers.BaseSampler], seed: int | None) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler for the trial."""
        if self._seed is not None:
            self._sampler = self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """Delegate to the wrapped sampler."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Delegate to the wrapped sampler."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Delegate to the wrapped sampler."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Delegate to the wrapped sampler."""
        self._sampler.after_trial(study, trial, state, values)


class GridInOrder(samplers.BaseSampler):
    """Grid sampler: every point once, in an order shuffled by the seed; the n-th trial gets the n-th point.

    With Optuna's own grid sampler, two processes may draw the same point. It also stops a study in a way that the
    ask-and-tell interface does not allow.
    """

    def __init__(self, space: Space, seed: int | None) -> None:
        self._values = {name: listed(distribution) or () for name, distribution in space.items()}
        self._order = list(range(math.prod(map(len, self._values.values()))))
        random.Random(seed or 0).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """Return an empty mapping: every key is sampled independently."""
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Return an empty mapping: every key is sampled independently."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of a key at the point of this trial; a trial beyond the last point is never run."""
        point = self._order[self._place(trial.number, _marks(study))]
        for name, values in reversed(self._values.items()):
            point, place = divmod(point, len(values))
            if name == param_name:
                return values[place]
        raise KeyError(param_name)

    def _place(self, number: int, marks: dict[int, Any]) -> int:
        """Return the position of a trial in the order of points; surplus trials take the points of dead machines."""
        place = number - sum(mark is True and other < number for other, mark in marks.items())
        given_up = sorted((other for other, mark in marks.items() if mark is not True), key=marks.__getitem__)
        if 0 <= place - len(self) < len(given_up):
            return self._place(given_up[place - len(self)], marks)
        return place % len(self)


def surplus(study: Study) -> list[int]:
    """Return the numbers of the trials that do not count, see :data:`SURPLUS`."""
    return list(_marks(study))


def _marks(study: Study) -> dict[int, Any]:
    # From the storage, because Hyperband passes samplers a study with some of the trials only.
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return {trial.number: trial.user_attrs[SURPLUS] for trial in trials if SURPLUS in trial.user_attrs}
