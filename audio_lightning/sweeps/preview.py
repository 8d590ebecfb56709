"""Preview of a sweep (``sweep.dry_run``): the state of each trial, and an estimate of the remaining time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio_lightning.compare.trials import ENDED, SweepFolder, TrialStatus
from audio_lightning.sweeps.fusion.groups import sizes
from audio_lightning.sweeps.plan import Planned, results_beside


@dataclass(frozen=True)
class Preview:
    """Preview of a sweep.

    Attributes:
        trials: state and planned status of each trial. State ``known``: a neighbouring sweep has its result.
        open: number of trials that would be run.
        seconds: estimated total duration of these, one at a time; None if no trial is finished.
        groups: number of trials in each group that one process would train; empty without ``sweep.fuse``.
    """

    trials: list[tuple[str, TrialStatus]]
    open: int
    seconds: float | None
    groups: list[int]


def preview(sweep: SweepFolder, planned: Sequence[Planned], *, reuse: bool, fuse: int = 1) -> Preview:
    """Compare planned trials with the trials in the folder of the sweep and, with ``reuse``, of neighbouring sweeps.

    Args:
        sweep: sweep folder, which need not exist.
        planned: planned trials of the sweep.
        reuse: see ``sweep.reuse``.
        fuse: see ``sweep.fuse``.
    """
    own = {status.hash: status for _, status in sweep.folders()} if sweep.trials.is_dir() else {}
    elsewhere = results_beside(sweep) if reuse else {}
    trials, left, configs = [], [], []
    for number, trial in enumerate(planned):
        status = trial.status(number)
        old = own.get(trial.hash)
        state: str = old.state if old else "known" if trial.hash in elsewhere else status.state
        if state == "known":
            status = replace(status, reason=f"done in {elsewhere[trial.hash].path}")
        if state not in (*ENDED, "known"):
            left.append(status)
            if state != "failed":
                configs.append(trial.plain)
        trials.append((state, status))
    finished = [*own.values(), *(folder.read_status() for folder in elsewhere.values())]
    seconds = _estimate(left, [status for status in finished if status.state == "done"])
    return Preview(trials, len(left), seconds, sizes(configs, fuse) if fuse > 1 else [])


def _estimate(left: Sequence[TrialStatus], done: Sequence[TrialStatus]) -> float | None:
    """Estimate the seconds of trials by the mean of finished trials with the same model, otherwise of all."""
    if not (left and done):
        return None
    total = 0.0
    for status in left:
        alike = [other for other in done if other.groups.get("model") == status.groups.get("model")]
        taken = [other.seconds for other in alike or done]
        total += sum(taken) / len(taken)
    return total
