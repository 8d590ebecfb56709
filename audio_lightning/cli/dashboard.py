"""``audio-lightning dashboard``: a workspace and a report in Weights & Biases for a sweep."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next, print_next_on_terminal
from audio_lightning.core.files import A_SWEEP, require_folder, to_json

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP_DIR", help="Folder that sweep.py left.")]
Project = Annotated[str | None, typer.Option(help="Project of the runs; default: that of the trials' logger.wandb.")]
Entity = Annotated[str | None, typer.Option(help="User or team; default: that of logger.wandb, or of the account.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Send nothing; print what would be sent, as JSON.")]


@exits
def dashboard_command(sweep: Sweep, project: Project = None, entity: Entity = None, dry_run: DryRun = False) -> None:
    """Make a W&B workspace and report of a sweep whose trials are runs there (`logger=[csv,wandb]`).

    Both show how the trials learn, which choice is best, at what cost, and which classes are mistaken; the report says
    first what the leaderboard says.
    """
    require_folder(sweep.expanduser(), A_SWEEP)
    from audio_lightning.compare.trials import SweepFolder

    folder = SweepFolder(sweep.expanduser())
    folder.read_facts()  # before anything heavy is imported
    from audio_lightning.sweeps.wandb_dashboard import describe_dashboard, read_dashboard, send_dashboard

    dashboard = read_dashboard(folder, project, entity)
    options = [
        word for name, value in (("--project", project), ("--entity", entity)) if value for word in (name, value)
    ]
    if dry_run:
        print(to_json(describe_dashboard(dashboard), indent=2))
        print_next_on_terminal("audio-lightning", "dashboard", sweep, *options)
        return
    for name, url in send_dashboard(dashboard).items():
        print(f"{name}: {url}")
    if dashboard.unsent:
        runs = f"{shlex.quote(str(folder.trials))}/*/wandb/offline-run-*"
        print(f"{dashboard.unsent} trials are on this machine only; send them with: wandb sync {runs}")
    print_next("audio-lightning", "refit", sweep)
