"""``audio-lightning refit``: the winner of a sweep, trained on all there is, to be used."""

from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import answering
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

Trust = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module of your own whose classes may be named; may be repeated."),
]


def refit_command(sweep: Sweep, everything: Everything = None, trust: Trust = None) -> None:
    """Train the best setup of a sweep once more, on training and validation clips, or on all of them.

    The setup is the one with the best validation metric. The classifier and a card that says what to expect of it are
    in SWEEP_DIR/refit, or SWEEP_DIR/refit-tested with the test part kept. The same line goes on where it stopped.
    """

    def run() -> int:
        require_folder(sweep.expanduser(), A_SWEEP)
        from omegaconf import OmegaConf

        from audio_lightning.compare.trials import SweepFolder

        source = SweepFolder(sweep.expanduser())
        facts = source.read_facts()  # before anything heavy is imported
        from audio_lightning.cli.train import train_in
        from audio_lightning.compare.leaderboard import make_boards
        from audio_lightning.compare.results import read_results
        from audio_lightning.config import check_config, trusting
        from audio_lightning.sweeps.refit import plan_refit, write_card

        results = read_results([source])
        boards = [board for board in make_boards(results, facts.monitor, facts.axes, [source]) if board.rows]
        refit = plan_refit(source, results, boards, everything=everything)
        best = f"{boards[0].monitor} {refit.row.validation.mean:.4f}"
        print(f"{refit.row.name}: {best}, the best of {len(boards[0].rows)}")
        OmegaConf.update(refit.config, "trust", trust, force_add=True)  # what is typed, not what the sweep's files say
        with trusting(trust):
            check_config(refit.config)
            metrics = train_in(refit.folder, refit.config)
        print(f"card: {write_card(refit, boards[0], metrics)}")
        print_next("audio-lightning", "predict", refit.folder.path, "FILE.wav")
        return 0

    raise typer.Exit(answering(run))
