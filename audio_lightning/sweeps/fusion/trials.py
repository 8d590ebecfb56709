"""Trials of a group, run in one process."""

import functools

from audio_lightning.compare.trials import TrialFolder
from audio_lightning.core.files import disk_trouble
from audio_lightning.sweeps.trial import BUSY, DISK, Job, attempt


def attempt_together(job: Job) -> int:
    """Run the trials of a group in this process, and compute the networks of their training steps jointly.

    Each trial runs as in :func:`attempt`. If one fails, the others continue.

    Args:
        job: the first trial, the others, and the settings of the process.

    Returns:
        The exit code of the process: :data:`DISK` or :data:`BUSY` if any trial has this exit code, otherwise the
        largest exit code. The exit code of each trial is in its status.
    """
    from audio_lightning.training.fusion.callback import JointTraining
    from audio_lightning.training.fusion.rounds import Rounds
    from audio_lightning.training.fusion.turns import Member, Turns

    folders = [TrialFolder(path) for path in (job.folder, *job.others)]
    codes: dict[int, int] = {}

    def train(folder: TrialFolder, member: Member) -> None:
        joint = JointTraining(member, seconds=job.timeout)
        try:
            codes[member.number] = attempt(folder, threads=job.threads, callbacks=[joint], members=len(folders))
        except OSError as error:
            if disk_trouble(error) is None:
                raise
            codes[member.number] = DISK

    failures = Turns(Rounds().serve).run([functools.partial(train, folder) for folder in folders])
    for failure in failures:
        if failure is not None:  # from outside of the training, whose errors `attempt` writes into the status
            raise failure
    return next((code for code in (DISK, BUSY) if code in codes.values()), max(codes.values()))
