"""``audio-lightning refit``: train the best setup of a sweep again, on more data, for use."""

from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Trust
from audio_lightning.cli.output import print_next, trust_options
from audio_lightning.core.files import A_SWEEP, require_folder

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP_DIR", help="Sweep folder, as sweep.py writes it.")]
Everything = Annotated[
    bool | None,
    typer.Option(
        "--everything/--keep-test",
        help="Train on the test clips, too, or keep them for the test; default: everything if all folds were tested.",
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="RUN_DIR_or_CKPT",
        help="Distillation: folder of a run or a fit, or checkpoint, whose probabilities become a part of the targets.",
    ),
]


@exits
def refit_command(sweep: Sweep, everything: Everything = None, teacher: Teacher = None, trust: Trust = None) -> None:
    """Train the best setup of a sweep once more, on training and validation clips, or on all of them.

    The best setup is the one with the best validation metric. The classifier and its model card are written to
    SWEEP_DIR/refit, or to SWEEP_DIR/refit-tested with --keep-test; the name ends in -distilled with --teacher. The same
    command resumes an interrupted refit.
    """
    require_folder(sweep.expanduser(), A_SWEEP)
    from audio_lightning.compare.trials import SweepFolder

    folder = SweepFolder(sweep.expanduser())
    folder.read_facts()  # fails before heavy imports
    from audio_lightning.sweeps.refit import refit

    trained = refit(folder, everything=everything, teacher=teacher, trust=trust).folder.path
    print_next("audio-lightning", "predict", trained, "FILE.wav", *trust_options(trust))
