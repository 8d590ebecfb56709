"""What a sweep would do: the state of each trial, and an estimate of the time that is left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audio_lightning.compare.trials import ENDED, SweepFolder, TrialStatus
from audio_lightning.sweeps.plan import Planned, results_beside


@dataclass(frozen=True)
class Preview:
    """The trials of a sweep before it runs, each with its state; ``known``: a sweep beside this one has the result.

    ``open`` trials would be run, one at a time in about ``seconds``, which is None where no finished trial says it.
    """

    trials: list[tuple[str, TrialStatus]]
    open: int
    seconds: float | None


def preview(sweep: SweepFolder, planned: Sequence[Planned], *, reuse: bool) -> Preview:
    """Compare planned trials with what there is; with ``reuse`` also in the sweeps beside this one."""
    own = {status.hash: status for _, status in sweep.folders()} if sweep.trials.is_dir() else {}
    elsewhere = results_beside(sweep) if reuse else {}
    trials, left = [], []
    for number, trial in enumerate(planned):
        status = trial.status(number)
        old = own.get(trial.hash)
        state: str = old.state if old else "known" if trial.hash in elsewhere else status.state
        if state == "known":
            status = replace(status, reason=f"done in {elsewhere[trial.hash].path}")
        if state not in (*ENDED, "known"):
            left.append(status)
        trials.append((state, status))
    finished = [*own.values(), *(folder.read_status() for folder in elsewhere.values())]
    return Preview(trials, len(left), _estimate(left, [status for status in finished if status.state == "done"]))


def _estimate(left: Sequence[TrialStatus], done: Sequence[TrialStatus]) -> float | None:
    """Seconds that trials may take: as long as finished ones did with the same model, or else as any did."""
    if not (left and done):
        return None
    total = 0.0
    for status in left:
        alike = [other for other in done if other.groups.get("model") == status.groups.get("model")]
        taken = [other.seconds for other in alike or done]
        total += sum(taken) / len(taken)
    return total
