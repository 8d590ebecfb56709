"""What steps of the candidates take on this machine, beside one another as they are trained, and alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from audio_lightning.core.cores import cores
from audio_lightning.fit.survey import Survey
from audio_lightning.sweeps.executors.forkserver import call, call_side_by_side


@dataclass(frozen=True)
class Untimed:
    """A candidate as it is trained on a fold: its settled configuration, and its task as a mapping.

    ``frozen``: see :class:`audio_lightning.fit.survey.Surveyed`; its steps are not timed.
    """

    config: dict[str, Any]
    task: dict[str, Any]
    frozen: bool = False


def timed(found: Survey, candidates: Mapping[str, Untimed], workers: int) -> Survey:
    """The survey with what a step takes each candidate, what predicting does, and what threads gain.

    On a CPU, as many processes as will train at once take their steps at the same time: they share caches, memory and
    clock with one another.

    Args:
        found: without times.
        candidates: those that can be tried.
        workers: trainings at once.
    """
    processes = min(workers, cores()) if found.machine.device == "CPU" else 1
    moving = {name: one for name, one in candidates.items() if not one.frozen}
    beside = call_side_by_side(steps_beside_others, (moving, processes), processes) if moving else []
    alone, predicting = call(alone_with_all_threads, dict(candidates))
    steps = {name: fmean(one[name] for one in beside) for name in moving}
    gain = steps[next(iter(moving))] / alone if moving and processes > 1 else 1.0
    return replace(
        found,
        candidates={
            name: replace(one, step_seconds=steps.get(name, 0.0), predict_seconds=predicting[name])
            if name in predicting
            else one
            for name, one in found.candidates.items()
        },
        alone=max(1.0, gain),
    )


def steps_beside_others(candidates: dict[str, Untimed], processes: int) -> dict[str, float]:
    """Seconds of a step of each candidate, with the threads that a training has; in a process of its own."""
    from audio_lightning.core.cores import share_threads
    from audio_lightning.training.trainer import silence_lightning

    silence_lightning()
    share_threads(processes)
    return {name: _seconds_a_step(one) for name, one in candidates.items()}


def alone_with_all_threads(candidates: dict[str, Untimed]) -> tuple[float, dict[str, float]]:
    """Seconds of a step of the first candidate that has any, and of predicting a clip with each; in its own process."""
    from omegaconf import OmegaConf

    from audio_lightning.core.cores import share_threads
    from audio_lightning.core.task import AudioTask
    from audio_lightning.inference.clip_time import seconds_a_clip
    from audio_lightning.training.step_time import untrained
    from audio_lightning.training.trainer import silence_lightning

    silence_lightning()
    share_threads(1)
    predicting = {
        name: seconds_a_clip(untrained(OmegaConf.create(one.config), AudioTask.from_dict(one.task)))
        for name, one in candidates.items()
    }
    first = next((one for one in candidates.values() if not one.frozen), None)
    return _seconds_a_step(first) if first else 0.0, predicting


def _seconds_a_step(candidate: Untimed) -> float:
    from omegaconf import OmegaConf

    from audio_lightning.core.task import AudioTask
    from audio_lightning.training.step_time import seconds_a_step

    return seconds_a_step(OmegaConf.create(candidate.config), AudioTask.from_dict(candidate.task))
