"""``audio-lightning refit``: the winner of a sweep, trained on all there is, to be used."""

from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Trust
from audio_lightning.cli.output import print_next
from audio_lightning.core.files import A_SWEEP, require_folder

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP_DIR", help="A folder that sweep.py left.")]
Everything = Annotated[
    bool | None,
    typer.Option(
        "--everything/--keep-test",
        help="Train on the test part, too, or test on it. Default: everything where every fold was tested in turn.",
    ),
]


@exits
def refit_command(sweep: Sweep, everything: Everything = None, trust: Trust = None) -> None:
    """Train the best setup of a sweep once more, on training and validation clips, or on all of them.

    The setup is the one with the best validation metric. The classifier and a card that says what to expect of it are
    in SWEEP_DIR/refit, or SWEEP_DIR/refit-tested with the test part kept. The same line goes on where it stopped.
    """
    require_folder(sweep.expanduser(), A_SWEEP)
    from audio_lightning.compare.trials import SweepFolder

    folder = SweepFolder(sweep.expanduser())
    folder.read_facts()  # before anything heavy is imported
    from audio_lightning.sweeps.refit import refit

    print_next("audio-lightning", "predict", refit(folder, everything=everything, trust=trust).folder.path, "FILE.wav")
