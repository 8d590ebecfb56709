"""``audio-lightning dashboard``: Weights & Biases workspace and report of a sweep."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next, print_next_on_terminal
from audio_lightning.core.files import A_SWEEP, require_folder, to_json

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP_DIR", help="Sweep folder, as sweep.py writes it.")]
Project = Annotated[str | None, typer.Option(help="W&B project; default: logger.wandb.project of the trials.")]
Entity = Annotated[str | None, typer.Option(help="W&B user or team; default: the trials' entity, or the account's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the workspace and report as JSON; upload nothing.")]


@exits
def dashboard_command(sweep: Sweep, project: Project = None, entity: Entity = None, dry_run: DryRun = False) -> None:
    r"""Create a W&B workspace and report of a sweep whose trials were logged to W&B (`logger=\[csv,wandb]`).

    Both show learning curves, the effect of each choice, costs and confused classes. The report starts with the
    leaderboard.
    """
    require_folder(sweep.expanduser(), A_SWEEP)
    from audio_lightning.compare.trials import SweepFolder

    folder = SweepFolder(sweep.expanduser())
    folder.read_facts()  # fails before heavy imports
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
        print(f"{dashboard.unsent} trials are on this machine only; upload them with: wandb sync {runs}")
    print_next("audio-lightning", "refit", sweep)
