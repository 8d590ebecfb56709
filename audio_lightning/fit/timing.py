"""Timing of the candidates' training steps and predictions on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from audio_lightning.core.cores import cores
from audio_lightning.fit.survey import Survey
from audio_lightning.sweeps.executors.forkserver import call, call_side_by_side


@dataclass(frozen=True)
class Untimed:
    """Candidate to time, as it is trained on a fold.

    Attributes:
        config: configuration without ``auto``.
        task: task of the data as a mapping.
        frozen: see :class:`audio_lightning.fit.survey.Surveyed`; its steps are not timed.
    """

    config: dict[str, Any]
    task: dict[str, Any]
    frozen: bool = False


def timed(found: Survey, candidates: Mapping[str, Untimed], workers: int) -> Survey:
    """Add step times, prediction times and the speed-up by more threads to a survey.

    On a CPU, as many processes as will train at the same time are timed in parallel, because they share caches, memory
    and clock frequency.

    Args:
        found: survey without times.
        candidates: possible candidates.
        workers: number of trainings at the same time.
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
    """Time a step of each candidate with the threads of one worker. Call it in a separate process."""
    from audio_lightning.core.cores import share_threads
    from audio_lightning.training.trainer import silence_lightning

    silence_lightning()
    share_threads(processes)
    return {name: _seconds_a_step(one) for name, one in candidates.items()}


def alone_with_all_threads(candidates: dict[str, Untimed]) -> tuple[float, dict[str, float]]:
    """Time a step of the first trained candidate with all threads, and the prediction of a clip with each candidate.

    Call it in a separate process.
    """
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
