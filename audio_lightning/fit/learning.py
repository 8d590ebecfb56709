"""The learning curve of a fit: a quick candidate, trained again on shares of its training part.

Its trainings are trials like others, but their predictions are in no ensemble.
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
"""Shares of the training part that are trained on, the first alone where one training runs at a time."""

PART = 0.05
"""Most of the budget that it may take."""

SLOWER = 1.1
"""How much longer a training may take than the one that it repeats."""


def plan_learning(
    lines: Sequence[str], passes: Sequence[Pass], trainings: Trainings, *, budget: float, left: float
) -> list[Training]:
    """Choose the trainings: those of the quickest member, or else of the quickest candidate, that there is time for.

    Each differs from a finished training of the first fold in its share alone: it has as many steps, and what followed
    from the recordings there.

    Args:
        lines: overrides of all trainings.
        passes: of the fit.
        trainings: of the fit, those of its passes finished.
        budget: seconds of the whole fit.
        left: seconds that there are for trainings.

    Returns:
        The trainings; empty where there is no time, or where the time ended all that they could repeat.
    """
    if any(line.partition("=")[0] == TRAIN_SHARE for line in lines):
        return []  # a share of a share is no point of a curve up to the whole
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
    """Whether a learning curve was planned, and all of its trainings have ended."""
    return bool(state.learning) and all(one.trial for one in state.learning)


def run_learning(state: FitState, trainings: Trainings, monitor: str) -> tuple[str, list[str]]:
    """Run those trainings of a learning curve that are missing.

    Returns:
        The candidate, and the folders of its finished trainings, that on the whole training part among them; nothing
        where none is planned.

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
        print(f"learning curve: {name} on {shares} of the training part of the first fold", flush=True)
    results = trainings.results(planned, monitor, ended=ended)
    first = [one for each in state.passes for one in each.rounds[0]]
    whole = {one.trial for one in first if (one.name, one.fold) == (name, fold)}
    folders = [folder for folder in trainings.finished.get(name, []) if folder.path.name in whole]
    folders += [folder for folder, status in results if status.state == "done"]
    return name, [str(folder.path) for folder in folders]


def ran_whole(folder: TrialFolder) -> bool:
    """Whether a training had all of its epochs, and was not ended by the time."""
    return int(folder.read_metrics()["epochs"]) == int(folder.read_config().trainer.max_epochs)


def _repeated(lines: Sequence[str], training: Training, folder: TrialFolder, share: float, limit: float) -> Training:
    config, clips = folder.read_config(), int(folder.read_metrics()["num_clips/train"])
    steps = int(config.trainer.max_epochs) * _steps(clips, config)
    epochs = max(1, round(steps / _steps(max(1, round(share * clips)), config)))
    typed = compose([*lines, *training.lines])
    # What is automatic would be settled by fewer recordings.
    settled = {key: OmegaConf.select(config, key) for key in automatic_keys(typed)}
    own = [
        *training.lines,
        *(f"{key}={'null' if value is None else value}" for key, value in settled.items()),
        f"{TRAIN_SHARE}={share}",
        *length_lines(epochs, limit, validated=TRAIN_ON_VALIDATION not in training.lines),
    ]
    return Training(training.name, training.fold, list({line.partition("=")[0]: line for line in own}.values()), share)


def _steps(clips: int, config: DictConfig) -> int:
    """Steps of an epoch, see :class:`audio_lightning.data.loading.batches.EpochBatches`."""
    full, rest = divmod(clips, int(config.data.batch_size))
    return full + (rest > 1 or (rest == 1 and full == 0))
