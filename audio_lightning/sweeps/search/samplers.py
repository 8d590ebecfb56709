"""Optuna's samplers and pruners by name, seeded by the number of the trial; imported only where there is a search."""

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
"""Trials before a sampler draws on what it has seen, and before a pruner judges."""

WARMUP = 3
"""Epochs in which the median does not judge: the order of trials at the start says little."""

POPULATION = 20
"""Trials in a generation of NSGA-II: with Optuna's 50 a search of a hundred trials would see two."""

SURPLUS = "surplus"
"""Mark of a trial that does not count: True, asked for when there were already as many as wanted, and not run; or the
time at which it was given up, because its machine was silent."""

Space = dict[str, BaseDistribution]


def make_sampler(name: str, space: Space, seed: int | None) -> samplers.BaseSampler:
    """The sampler with this name: ``tpe``, ``random``, ``grid``, ``cmaes`` or ``nsga2``."""
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
    """The pruner with this name: ``none``, ``median`` or ``hyperband``."""
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP // 2, n_warmup_steps=WARMUP)
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.NopPruner()


class SeededByNumber(samplers.BaseSampler):
    """A sampler whose draws for a trial follow from the seed, the number of the trial and what has been told.

    One process so repeats itself, also when it is stopped and goes on, and several that share a study and a seed never
    draw the same numbers, because a trial's number is its own. A seed of None leaves it to chance.
    """

    def __init__(self, make: Callable[[int | None], samplers.BaseSampler], seed: int | None) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start from the trial's own seed."""
        if self._seed is not None:
            self._sampler = self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """As the sampler has it."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """As the sampler has it."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler has it."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the sampler has it."""
        self._sampler.after_trial(study, trial, state, values)


class GridInOrder(samplers.BaseSampler):
    """Every point once, in an order shuffled by the seed, the n-th point for the n-th trial.

    Optuna's own lets two processes draw the same point, and stops a study in a way that asking and telling forbids.
    """

    def __init__(self, space: Space, seed: int | None) -> None:
        self._values = {name: listed(distribution) or () for name, distribution in space.items()}
        self._order = list(range(math.prod(map(len, self._values.values()))))
        random.Random(seed or 0).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """Every key is drawn on its own."""
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Every key is drawn on its own."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of a key at the point of this trial; one beyond the last is not going to be run."""
        point = self._order[self._place(trial.number, _marks(study))]
        for name, values in reversed(self._values.items()):
            point, place = divmod(point, len(values))
            if name == param_name:
                return values[place]
        raise KeyError(param_name)

    def _place(self, number: int, marks: dict[int, Any]) -> int:
        """Place in the order of the points; trials beyond the last take those of the given up ones, one each."""
        place = number - sum(mark is True and other < number for other, mark in marks.items())
        given_up = sorted((other for other, mark in marks.items() if mark is not True), key=marks.__getitem__)
        if 0 <= place - len(self) < len(given_up):
            return self._place(given_up[place - len(self)], marks)
        return place % len(self)


def surplus(study: Study) -> list[int]:
    """Numbers of the trials that do not count, see :data:`SURPLUS`."""
    return list(_marks(study))


def _marks(study: Study) -> dict[int, Any]:
    # From the storage, because Hyperband shows samplers a study with some of the trials only.
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return {trial.number: trial.user_attrs[SURPLUS] for trial in trials if SURPLUS in trial.user_attrs}
