"""``audio-lightning leaderboard``: comparison of the finished trials of sweeps."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next
from audio_lightning.core.files import A_SWEEP, require_folder

Sweeps = Annotated[list[Path], typer.Argument(metavar="SWEEP_DIR...", help="Sweep folders, as sweep.py writes them.")]
Monitor = Annotated[str | None, typer.Option(help="Validation metric to order by; default: monitor of the sweeps.")]


@exits
def leaderboard_command(sweeps: Sweeps, monitor: Monitor = None) -> int:
    """Compare the finished trials of sweeps: mean and spread over folds and seeds, costs, paired tests.

    The exit code is 1 if no trial is finished.
    """
    for path in sweeps:
        require_folder(path.expanduser(), A_SWEEP)
    from audio_lightning.compare.trials import SweepFolder

    folders = [SweepFolder(path.expanduser()) for path in sweeps]
    facts = [folder.read_facts() for folder in folders]
    from audio_lightning.compare.leaderboard import boards_of
    from audio_lightning.compare.trial_table import read_results
    from audio_lightning.report.terminal import print_boards

    results = read_results(folders)
    boards = boards_of(results, folders, monitor)
    for damage in results.attrs["damaged"]:
        print(f"{damage}; the sweep's command runs this trial again", file=sys.stderr)
    states = ", ".join(f"{count} {state}" for state, count in results["state"].value_counts().items())
    print(f"{len(results)} trials" + (f": {states}" if states else ""))
    if not boards:
        print("no trial is finished yet; the sweep's command continues it")
        print_next("python", "sweep.py", *facts[0].overrides)
        return 1
    print_boards(boards)
    if len(boards) == 1 and boards[0].rows:
        best = results.iloc[boards[0].rows[0].trials[0]]
        print_next("audio-lightning", "refit", Path(best["sweep"]) if len(folders) > 1 else folders[0].path)
    return 0
