"""``audio-lightning <command>``."""

import platform
import sys
from typing import Annotated, Any

import typer

from audio_lightning import __version__
from audio_lightning.cli.cache import cache_app
from audio_lightning.cli.catalog import compatibility_command, features_command, models_command
from audio_lightning.cli.check import check_command
from audio_lightning.cli.completion import ConfigDir, complete_override
from audio_lightning.cli.dashboard import dashboard_command
from audio_lightning.cli.demo import demo_command
from audio_lightning.cli.detect import detect_command
from audio_lightning.cli.explain import explain_command
from audio_lightning.cli.export import export_command
from audio_lightning.cli.fit import fit_command
from audio_lightning.cli.inference import embed_command, evaluate_command, predict_command
from audio_lightning.cli.labels import labels_command
from audio_lightning.cli.leaderboard import leaderboard_command
from audio_lightning.cli.listen import listen_command
from audio_lightning.cli.plan import plan_command
from audio_lightning.cli.push import push_command
from audio_lightning.cli.refit import refit_command
from audio_lightning.cli.robustness import robustness_command
from audio_lightning.cli.suggest import suggest_command

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Typed = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=complete_override, show_default=False)
]


def main() -> None:
    """Entry point of the command.

    A mistake in the arguments is one line on standard error and exit code 2.
    """
    try:
        code = app(prog_name="audio-lightning", standalone_mode=False)
    except typer.Abort:
        code = 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # some versions of typer include their own click
            raise
        code = _print_usage_error(error)
    sys.exit(code if isinstance(code, int) else 0)


def _print_usage_error(error: Any) -> int:
    """Print a usage error of click in one line and return its exit code."""
    where = error.ctx.command_path if getattr(error, "ctx", None) else "audio-lightning"
    message = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: the help
        print(message, end="\n" if message else "", file=sys.stderr)
    else:
        message = message.replace("Value error, ", "")  # the prefix of messages about choices
        words = " ".join(message.split()).rstrip(".").replace(". Did you mean", "; did you mean")
        advice = "" if words.endswith("?") else f"; see {where} --help"
        print(f"error: {where}: {words[:1].lower()}{words[1:]}{advice}", file=sys.stderr)
    return int(error.exit_code)


def _print_versions(asked: bool) -> None:
    """Print the versions of the package and of the libraries that its results depend on, without importing them."""
    if asked:
        from importlib.metadata import version

        print(f"audio-lightning {__version__}")
        print(f"Python {platform.python_version()} on {platform.platform()}")
        print(", ".join(f"{name} {version(name)}" for name in ("torch", "torchaudio", "lightning", "hydra-core")))
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Train, compare and use audio classifiers."""


@app.command(
    "train",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train_command(overrides: Typed = None, config_dir: ConfigDir = None) -> None:
    """Train a classifier, like `python train.py`: `audio-lightning train model=resnet feature=mfcc`."""
    from audio_lightning.cli.train import main as train
    from audio_lightning.config.overrides import command_line

    raise typer.Exit(train(command_line(overrides, config_dir)))


@app.command(
    "sweep",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def sweep_command(overrides: Typed = None, config_dir: ConfigDir = None) -> None:
    """Train all combinations and compare them, like `python sweep.py`."""
    from audio_lightning.cli.sweep import main as sweep
    from audio_lightning.config.overrides import command_line

    raise typer.Exit(sweep(command_line(overrides, config_dir)))


app.command("predict")(predict_command)
app.command("detect")(detect_command)
app.command("listen")(listen_command)
app.command("embed")(embed_command)
app.command("evaluate")(evaluate_command)
app.command("robustness")(robustness_command)
app.command("explain")(explain_command)
app.command("export")(export_command)
app.command("check")(check_command)
app.command("plan")(plan_command)
app.command("fit", context_settings={"ignore_unknown_options": True})(fit_command)
app.command("models")(models_command)
app.command("features")(features_command)
app.command("compatibility")(compatibility_command)
app.command("grid", hidden=True, deprecated=True)(compatibility_command)  # its name in 0.1
app.command("labels")(labels_command)
app.command("leaderboard")(leaderboard_command)
app.command("dashboard")(dashboard_command)
app.command("refit")(refit_command)
app.command("suggest")(suggest_command)
app.command("push")(push_command)
app.command("demo")(demo_command)
app.add_typer(cache_app, name="cache")
