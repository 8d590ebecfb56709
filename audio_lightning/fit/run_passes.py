"""Run the passes of a fit: which trainings there are, round by round."""

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
"""Seconds of a step that was not timed, since it takes next to nothing."""

GRACE = 2.0
"""How much longer than planned a training of the first fold may take before it is told to stop with what it has."""


def run_passes(fit: RunningFit, found: Survey, monitor: str) -> None:
    """Run what is missing of the passes, and those for which there is time since.

    Args:
        fit: that is running.
        found: what there is to fit.
        monitor: metric that survivors are chosen by.

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
        """Begin a pass, where there is time for one that was not planned yet."""
        passes = self.fit.state.passes
        if passes and self.fit.budget <= max(one.budget for one in passes):
            return False
        possible = {name: one for name, one in self.found.candidates.items() if one.impossible is None}
        hopeful = {name: one for name, one in possible.items() if name not in self.fit.state.lost} or possible
        slow: dict[str, str] = {}
        while planned := self._planned(hopeful):
            # Only now is it known how many models an answer has.
            found = self._slow(planned, hopeful)
            if not found:
                break
            slow |= found
            hopeful = {name: one for name, one in hopeful.items() if name not in slow}
        if planned is None:
            say(
                f"of {duration(self.fit.budget)} {duration(self.fit.budget_left)} are left: too little for trainings "
                "as long as those before, so none are added"
            )
            return False
        planned.slow = slow
        passes.append(planned)
        self.fit.save()
        return True

    def _planned(self, candidates: Mapping[str, Surveyed]) -> Pass | None:
        passes, settings = self.fit.state.passes, self.fit.request.settings
        # Where there is nothing but those that take next to nothing, they are candidates like others.
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
        """Those of the candidates that the models of the planned folds keep out of the answer, and why."""
        settings = self.fit.request.settings
        if settings.limit_seconds is None:
            return {}
        seconds = {name: one.predict_seconds for name, one in candidates.items()}
        models = 1 if settings.refit else planned.allocation.folds
        return too_slow(seconds, models, settings.limit_seconds)

    def run(self, number: int) -> None:
        """Run what is missing of a pass."""
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
        """A further candidate, for which the time that is left is enough; None where there is none."""
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
        say(f"there is time for {name}, too: {length:,} steps on {_folds(chosen.folds)}")
        return name

    def _steps(self, candidate: str, number: int) -> int:
        """Steps of a training of a candidate in a pass, as they were planned."""
        chosen = self.fit.state.passes[number].allocation
        return dict(zip(chosen.extra, chosen.extra_steps)).get(candidate, chosen.steps)

    def _is_aside(self, trainings: Sequence[Training]) -> bool:
        tried = tried_names(self.fit.state.passes)
        aside = {name for one in self.fit.state.passes for name in one.allocation.aside}
        return any(tried[training.name][0] in aside for training in trainings)

    def _added_names(self, number: int) -> list[str]:
        """Those that a pass tried beside its candidates and that were trained on all of its folds."""
        allocation = self.fit.state.passes[number].allocation
        names = [pass_name(name, number) for name in (*allocation.aside, *allocation.extra)]
        return [name for name in names if len(self.fit.trainings.finished.get(name, ())) >= allocation.folds]

    def _kept_for_refit(self, one: Pass) -> float:
        """Seconds that a pass keeps for what is trained on all recordings."""
        return one.kept - aside_seconds(len(one.allocation.aside), len(self.found.folds), workers=self.workers)

    def _round(
        self, number: int, place: int, trainings: list[tuple[str, int]], what: str, *, kept: float | None = None
    ) -> None:
        """Run those trainings of a round of a pass that are missing; ``kept``: seconds for what follows."""
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
                # Where nothing is chosen by it, the validation part trains, too.
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
        """Seconds that the trainings of a second round take, as long as those of the first one took."""
        taken = self._seconds_beside_others([name for name, _ in trainings], one)
        return max(1e-9, self.workers.round_seconds(taken))

    def _seconds_beside_others(self, names: Iterable[str], one: Pass) -> list[float]:
        """About what a training of each candidate takes where all workers train, and at most that."""
        gain = self.workers.gain(min(len(trainings) for trainings in one.rounds))
        return [self.fit.trainings.seconds(name) * gain for name in names]

    def _on_further_folds(self, number: int) -> list[tuple[str, int]]:
        """Trainings on folds for which there is time that was not counted on: steps were quicker than when timed."""
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
        say(f"there is time for {_folds(more, 'more ')}, {tested + more} of {len(self.found.folds)} in all")
        return [(name, fold) for fold in range(tested, tested + more) for name in names]

    def _survivors(self, number: int) -> list[str]:
        """The candidates that are trained on all folds: the best by their validation on the first one."""
        one = self.fit.state.passes[number]
        if one.survivors:
            return one.survivors
        finished = self.fit.trainings.finished
        names = [training.name for training in one.rounds[0] if training.name in finished]
        scores = {name: finished[name][0].read_metrics().get(self.monitor) for name in names}
        if len(one.allocation.candidates) == 1:  # which nothing is compared with, and nothing was validated
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
            late = place < one.allocation.survivors  # it would have been kept, had the first fold not taken longer
            one.stopped[name] = f"no time for the other folds; {why}" if late else why
        one.survivors = kept
        self.fit.save()
        return kept

    def _affordable(self, one: Pass, ranked: Sequence[str]) -> int:
        """As many survivors as planned, or fewer where the trainings took longer than their steps were timed at."""
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
