"""Learning curve of a fit: a quick candidate, trained again on shares of its training clips.

These trainings are trials, too, but their predictions are not part of any ensemble.
"""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from audio_lightning.compare.fit_summary import TRAIN_SHARE
from audio_lightning.compare.trials import TrialFolder
from audio_lightning.config import compose
from audio_lightning.config.automatic import automatic_keys
from audio_lightning.fit.state import FitState, Pass, Training
from audio_lightning.fit.trainings import TRAIN_ON_VALIDATION, Trainings, length_lines

SHARES = (0.5, 0.25)
"""Shares of the training clips; only the first is used if one training runs at a time."""

PART = 0.05
"""Maximum share of the budget for the learning curve."""

SLOWER = 1.1
"""Safety factor on the duration of the training that is repeated."""


def plan_learning(
    lines: Sequence[str], passes: Sequence[Pass], trainings: Trainings, *, budget: float, left: float
) -> list[Training]:
    """Plan the trainings of the learning curve: of the quickest member, otherwise of the quickest candidate.

    Each repeats a finished training of the first fold with a smaller share of the clips, the same number of steps and
    the same settings derived from the recordings.

    Args:
        lines: overrides of all trainings.
        passes: passes of the fit.
        trainings: trainings of the fit, which are finished.
        budget: seconds of the whole fit.
        left: remaining seconds for trainings.

    Returns:
        The trainings; empty if there is no time, if no training was finished before its time limit, or if the
        trainings of the fit themselves use a share of the clips.
    """
    if any(line.partition("=")[0] == TRAIN_SHARE for line in lines):
        return []  # the fit itself uses a share, so the curve would lack the training on all clips
    allowed = min(left, PART * budget)
    members = {name for one in passes for name in one.survivors}
    whole = [
        (training, folder)
        for one in passes
        for training in one.rounds[0]
        for folder in trainings.finished.get(training.name, ())
        if training.fold == 0 and folder.path.name == training.trial
    ]
    seconds = {training.name: folder.read_status().seconds for training, folder in whole}
    whole.sort(key=lambda pair: (pair[0].name not in members, seconds[pair[0].name]))
    for training, folder in whole:
        if SLOWER * seconds[training.name] <= allowed and ran_whole(folder):
            return [_repeated(lines, training, folder, share, allowed) for share in SHARES[: trainings.slots]]
    return []


def has_ended(state: FitState) -> bool:
    """Return whether a learning curve was planned and all its trainings have ended."""
    return bool(state.learning) and all(one.trial for one in state.learning)


def run_learning(state: FitState, trainings: Trainings, monitor: str) -> tuple[str, list[str]]:
    """Run the missing trainings of a learning curve.

    Returns:
        The candidate, and the folders of its finished trainings, including that on all training clips; both empty if no
        learning curve is planned.

    Raises:
        DiskError: the disk was full.
        Interrupted: Ctrl-C or SIGTERM.
    """
    if not (planned := state.learning):
        return "", []
    name, fold = planned[0].name, planned[0].fold
    ended = has_ended(state)
    if not ended:
        shares = " and ".join(f"{100 * one.share:.0f} %" for one in planned)
        print(f"learning curve: {name} on {shares} of the training clips of the first fold", flush=True)
    results = trainings.results(planned, monitor, ended=ended)
    first = [one for each in state.passes for one in each.rounds[0]]
    whole = {one.trial for one in first if (one.name, one.fold) == (name, fold)}
    folders = [folder for folder in trainings.finished.get(name, []) if folder.path.name in whole]
    folders += [folder for folder, status in results if status.state == "done"]
    return name, [str(folder.path) for folder in folders]


def ran_whole(folder: TrialFolder) -> bool:
    """Return whether a training completed all its epochs before its time limit."""
    return int(folder.read_metrics()["epochs"]) == int(folder.read_config().trainer.max_epochs)


def _repeated(lines: Sequence[str], training: Training, folder: TrialFolder, share: float, limit: float) -> Training:
    config, clips = folder.read_config(), int(folder.read_metrics()["num_clips/train"])
    steps = int(config.trainer.max_epochs) * _steps(clips, config)
    epochs = max(1, round(steps / _steps(max(1, round(share * clips)), config)))
    typed = compose([*lines, *training.lines])
    # Fixed, because settings that are auto would otherwise be derived from fewer recordings.
    settled = {key: OmegaConf.select(config, key) for key in automatic_keys(typed)}
    own = [
        *training.lines,
        *(f"{key}={'null' if value is None else value}" for key, value in settled.items()),
        f"{TRAIN_SHARE}={share}",
        *length_lines(epochs, limit, validated=TRAIN_ON_VALIDATION not in training.lines),
    ]
    return Training(training.name, training.fold, list({line.partition("=")[0]: line for line in own}.values()), share)


def _steps(clips: int, config: DictConfig) -> int:
    """Return the steps per epoch, see :class:`audio_lightning.data.loading.batches.EpochBatches`."""
    full, rest = divmod(clips, int(config.data.batch_size))
    return full + (rest > 1 or (rest == 1 and full == 0))
