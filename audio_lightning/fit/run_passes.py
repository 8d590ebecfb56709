"""Execution of the passes of a fit, round by round."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import lower_is_better
from audio_lightning.fit.announce import say, say_pass
from audio_lightning.fit.budget import Workers, aside_seconds, extra_candidate, more_folds
from audio_lightning.fit.passes import folds_tested, pass_name, plan_pass, tried_names
from audio_lightning.fit.running import RunningFit
from audio_lightning.fit.state import Pass, Training
from audio_lightning.fit.survey import Survey, Surveyed
from audio_lightning.fit.time_limit import too_slow
from audio_lightning.fit.trainings import training_seconds
from audio_lightning.sweeps.progress import duration

QUICKEST_STEP = 1e-3
"""Minimum seconds per step in a plan, for candidates on frozen embeddings, whose steps are not timed."""

GRACE = 2.0
"""Time limit of a training on the first fold, as a multiple of its planned duration."""


def run_passes(fit: RunningFit, found: Survey, monitor: str) -> None:
    """Run the missing trainings of planned passes, and further passes if the budget allows.

    Args:
        fit: the running fit.
        found: survey of the data and the candidates.
        monitor: metric that chooses survivors.

    Raises:
        ConfigError: no candidate could be trained.
        DiskError: the disk was full.
        Interrupted: Ctrl-C or SIGTERM.
    """
    number, passes = 0, _Passes(fit, found, monitor)
    while number < len(fit.state.passes) or passes.begin():
        passes.run(number)
        number += 1


class _Passes:
    def __init__(self, fit: RunningFit, found: Survey, monitor: str) -> None:
        self.fit, self.found, self.monitor = fit, found, monitor
        self.workers = Workers(fit.trainings.slots, found.alone)

    def begin(self) -> bool:
        """Plan a new pass if there is time for one; return whether there is."""
        passes = self.fit.state.passes
        if passes and self.fit.budget <= max(one.budget for one in passes):
            return False
        possible = {name: one for name, one in self.found.candidates.items() if one.impossible is None}
        hopeful = {name: one for name, one in possible.items() if name not in self.fit.state.lost} or possible
        slow: dict[str, str] = {}
        while planned := self._planned(hopeful):
            # The number of models per candidate is known only after planning.
            found = self._slow(planned, hopeful)
            if not found:
                break
            slow |= found
            hopeful = {name: one for name, one in hopeful.items() if name not in slow}
        if planned is None:
            say(
                f"{duration(self.fit.budget_left)} of {duration(self.fit.budget)} left: too little for further "
                "trainings as long as the earlier ones"
            )
            return False
        planned.slow = slow
        passes.append(planned)
        self.fit.save()
        return True

    def _planned(self, candidates: Mapping[str, Surveyed]) -> Pass | None:
        passes, settings = self.fit.state.passes, self.fit.request.settings
        # If all candidates use frozen embeddings, they are planned as ordinary candidates.
        trained = {name: one for name, one in candidates.items() if not one.frozen} or candidates
        return plan_pass(
            self.fit.budget,
            self.fit.left,
            {name: max(QUICKEST_STEP, one.step_seconds) for name, one in trained.items()},
            min(one.steps_an_epoch for one in trained.values()),
            passes,
            {name: self.fit.trainings.seconds(name) for name in tried_names(passes)},
            workers=self.workers,
            folds=len(self.found.folds),
            members=settings.max_members,
            refit=settings.refit,
            aside=[name for name in candidates if name not in trained],
        )

    def _slow(self, planned: Pass, candidates: Mapping[str, Surveyed]) -> dict[str, str]:
        """Return the candidates whose models of all planned folds would exceed the time limit, with the reason."""
        settings = self.fit.request.settings
        if settings.limit_seconds is None:
            return {}
        seconds = {name: one.predict_seconds for name, one in candidates.items()}
        models = 1 if settings.refit else planned.allocation.folds
        return too_slow(seconds, models, settings.limit_seconds)

    def run(self, number: int) -> None:
        """Run the missing trainings of a pass."""
        one = self.fit.state.passes[number]
        chosen = one.allocation
        if not one.done:
            say_pass(self.fit.state.passes[: number + 1], self.found, self.fit.budget_left)
        first = [(pass_name(name, number), fold) for fold in range(chosen.at_once) for name in chosen.candidates]
        what = "trainings" if chosen.at_once > 1 else "candidates on the first fold"
        self._round(number, 0, first, what)
        survivors = self._survivors(number)
        others = [(name, fold) for fold in range(chosen.at_once, chosen.folds) for name in survivors]
        tested = folds_tested(self.fit.state.passes[:number])
        others += [(name, fold) for name in one.finish for fold in range(tested[name], chosen.folds)]
        if others:
            self._round(number, 1, others, "trainings on the other folds")
        place, further = 1 + bool(others), list[tuple[str, int]]()
        while place < len(one.rounds) or (further := self._on_further_folds(number)):
            self._round(number, place, further, "trainings on further folds")
            place += 1
        if chosen.aside and not any(map(self._is_aside, one.rounds)):
            aside = self._on_all_folds(number, chosen.aside)
            self._round(number, place, aside, "classifiers on published networks", kept=self._kept_for_refit(one))
        while extra := self._extra(number):
            trainings, kept = self._on_all_folds(number, [extra]), self._kept_for_refit(one)
            self._round(number, len(one.rounds), trainings, "further candidates", kept=kept)
        one.survivors += [name for name in self._added_names(number) if name not in one.survivors]
        one.done = True
        self.fit.save()

    def _on_all_folds(self, number: int, candidates: Iterable[str]) -> list[tuple[str, int]]:
        folds = range(self.fit.state.passes[number].allocation.folds)
        return [(pass_name(name, number), fold) for name in candidates for fold in folds]

    def _extra(self, number: int) -> str | None:
        """Choose an untried candidate for the remaining time; None if there is none."""
        one = self.fit.state.passes[number]
        if one.done:
            return None
        tried = {candidate for candidate, _ in tried_names(self.fit.state.passes).values()}
        steps = {
            name: each.step_seconds
            for name, each in self.found.candidates.items()
            if not each.frozen and each.impossible is None and name not in {*tried, *one.slow, *self.fit.state.lost}
        }
        shortest = min((self.found.candidates[name].steps_an_epoch for name in steps), default=0)
        found = extra_candidate(
            self.fit.left - self._kept_for_refit(one),
            steps,
            shortest,
            one.allocation.steps,
            one.allocation.folds,
            workers=self.workers,
        )
        if found is None:
            return None
        name, length = found
        chosen = one.allocation
        one.allocation = replace(chosen, extra=(*chosen.extra, name), extra_steps=(*chosen.extra_steps, length))
        say(f"time for {name}, too: {length:,} steps on {_folds(chosen.folds)}")
        return name

    def _steps(self, candidate: str, number: int) -> int:
        """Return the planned steps per training of a candidate in a pass."""
        chosen = self.fit.state.passes[number].allocation
        return dict(zip(chosen.extra, chosen.extra_steps)).get(candidate, chosen.steps)

    def _is_aside(self, trainings: Sequence[Training]) -> bool:
        tried = tried_names(self.fit.state.passes)
        aside = {name for one in self.fit.state.passes for name in one.allocation.aside}
        return any(tried[training.name][0] in aside for training in trainings)

    def _added_names(self, number: int) -> list[str]:
        """Return the ``aside`` and ``extra`` candidates of a pass that were trained on all of its folds."""
        allocation = self.fit.state.passes[number].allocation
        names = [pass_name(name, number) for name in (*allocation.aside, *allocation.extra)]
        return [name for name in names if len(self.fit.trainings.finished.get(name, ())) >= allocation.folds]

    def _kept_for_refit(self, one: Pass) -> float:
        """Return the seconds that a pass reserves for the refit."""
        return one.kept - aside_seconds(len(one.allocation.aside), len(self.found.folds), workers=self.workers)

    def _round(
        self, number: int, place: int, trainings: list[tuple[str, int]], what: str, *, kept: float | None = None
    ) -> None:
        """Run the missing trainings of a round of a pass; ``kept``: seconds reserved for later rounds."""
        started = self.fit.spent
        one = self.fit.state.passes[number]
        if place == len(one.rounds):
            tried = tried_names(self.fit.state.passes)
            left = max(1.0, self.fit.left - (one.kept if kept is None else kept))
            share = min(1.0, left / self._expected(one, trainings)) if place else 1.0
            waves = math.ceil(len(trainings) / self.workers.number)
            is_last = place > 0 or one.allocation.folds == one.allocation.at_once
            planned = []
            for name, fold in trainings:
                candidate, own = tried[name]
                allocation = self.fit.state.passes[own].allocation
                allocation = replace(allocation, steps=max(1, int(share * self._steps(candidate, own))))
                grace = GRACE * training_seconds(self.found.candidates[candidate], allocation)
                limit = left / waves if is_last else min(left, grace)
                # Validation clips that choose nothing are used for training.
                validated = place == 0 and len(one.allocation.candidates) > 1
                lines = self.fit.trainings.fold_lines(
                    candidate, own, fold, self.found, allocation, limit, validated=validated
                )
                planned.append(Training(name, fold, lines))
            one.rounds.append(planned)
            self.fit.save()
        self.fit.trainings.run(one.rounds[place], self.monitor, what, ended=one.done)
        if not one.done:
            self.fit.timed(what, started)

    def _expected(self, one: Pass, trainings: Sequence[tuple[str, int]]) -> float:
        """Estimate the seconds of a later round from the durations of the first one."""
        taken = self._seconds_beside_others([name for name, _ in trainings], one)
        return max(1e-9, self.workers.round_seconds(taken))

    def _seconds_beside_others(self, names: Iterable[str], one: Pass) -> list[float]:
        """Estimate, as an upper bound, the seconds of a training of each candidate while all workers train."""
        gain = self.workers.gain(min(len(trainings) for trainings in one.rounds))
        return [self.fit.trainings.seconds(name) * gain for name in names]

    def _on_further_folds(self, number: int) -> list[tuple[str, int]]:
        """Return trainings on further folds that fit into the budget because steps were quicker than estimated."""
        one = self.fit.state.passes[number]
        if one.done or not one.survivors or any(map(self._is_aside, one.rounds)) or one.allocation.extra:
            return []
        tested = one.allocation.folds
        finished = self.fit.trainings.finished
        complete = folds_tested(self.fit.state.passes[: number + 1]).items()
        names = [name for name, count in complete if count == tested == len(finished.get(name, ()))]
        most, settings = len(self.found.folds), self.fit.request.settings
        if settings.limit_seconds is not None and not settings.refit:
            tried = tried_names(self.fit.state.passes)
            seconds = [self.found.candidates[tried[name][0]].predict_seconds for name in names]
            most = min([most, *(int(settings.limit_seconds / one) for one in seconds)])
        taken = self._seconds_beside_others(names, one)
        more = more_folds(self.fit.left - one.kept, taken, most - tested, workers=self.workers)
        if not (names and more):
            return []
        one.allocation = replace(one.allocation, folds=tested + more)
        one.finish = [name for name in names if name not in one.survivors]
        say(f"time for {_folds(more, 'more ')}, {tested + more} of {len(self.found.folds)} in all")
        return [(name, fold) for fold in range(tested, tested + more) for name in names]

    def _survivors(self, number: int) -> list[str]:
        """Choose the candidates to train on all folds: the best by validation on the first fold."""
        one = self.fit.state.passes[number]
        if one.survivors:
            return one.survivors
        finished = self.fit.trainings.finished
        names = [training.name for training in one.rounds[0] if training.name in finished]
        scores = {name: finished[name][0].read_metrics().get(self.monitor) for name in names}
        if len(one.allocation.candidates) == 1:  # a single candidate is not validated
            scores = dict.fromkeys(names, 0.0)
        sign = 1 if lower_is_better(self.monitor) else -1
        known = {name: float(value) for name, value in scores.items() if value is not None}
        ranked = sorted(known, key=lambda name: sign * known[name])
        if not ranked and number == 0:
            failures = self.fit.trainings.failures.items()
            raise ConfigError("no candidate could be trained: " + "; ".join(f"{name}: {why}" for name, why in failures))
        kept = ranked[: self._affordable(one, ranked)]
        for place, name in enumerate(ranked[len(kept) :], len(kept)):
            why = f"{self.monitor} {known[name]:.3f} on the first fold, {known[kept[-1]]:.3f} of {kept[-1]}"
            late = place < one.allocation.survivors  # dropped only because the first fold took longer
            one.stopped[name] = f"no time for the other folds; {why}" if late else why
        one.survivors = kept
        self.fit.save()
        return kept

    def _affordable(self, one: Pass, ranked: Sequence[str]) -> int:
        """Return the number of survivors: as planned, or fewer if trainings took longer than estimated."""
        others = one.allocation.folds - one.allocation.at_once
        if others == 0:
            return len(ranked)
        seconds = {name: self.fit.trainings.seconds(name) for name in ranked}
        for count in range(min(one.allocation.survivors, len(ranked)), 1, -1):
            trials = sum(seconds[name] for name in ranked[:count]) * others
            if trials / self.workers.number <= self.fit.left - one.kept:
                return count
        return 1


def _folds(count: int, which: str = "") -> str:
    return f"{count} {which}fold{'s' * (count > 1)}"
