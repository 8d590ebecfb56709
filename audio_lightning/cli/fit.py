"""``audio-lightning fit``: search for the best classifier of a data set within a time budget."""

from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.completion import ConfigDir, complete_override
from audio_lightning.cli.exit_codes import exit_code_of, exits
from audio_lightning.cli.output import print_demo_data, print_next, print_written, trust_options

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="data=NAME data.root=DIR [preset=good] [budget=20m] [KEY=VALUE]",
        help="The data, as for a training; preset and time budget.",
        autocompletion=complete_override,
    ),
]


@exits
def fit_command(words: Words = None, config_dir: ConfigDir = None) -> int:
    """Cross-validate candidates, select an ensemble, and write one model and a page with its expected accuracy.

    preset=fast|good|best sets the candidates and how many are kept; budget=20m limits the time from the command to the
    page. metric=balanced_accuracy sets the selection metric, exclude=quick leaves candidates out, infer_limit=5ms
    limits the prediction time of a clip, refit=true trains the members again on all recordings, fit.dir=DIR sets the
    folder (default: fits/HASH, a hash of the arguments). sweep.executor=ray and sweep.workers=N set where trainings
    run.

    The same command resumes an interrupted fit; with a larger budget or new recordings, it extends a finished one.
    """
    return exit_code_of(lambda: _fit(words or [], config_dir), then="the same command continues")


def _fit(typed: list[str], config_dir: Path | None) -> int:
    from audio_lightning.config import compose, quote_paths, user_extensions
    from audio_lightning.config.slips import unknown_option
    from audio_lightning.config.trust import trusted_modules
    from audio_lightning.core.errors import ConfigError
    from audio_lightning.fit.clock import seconds_running
    from audio_lightning.fit.fitting import run_fit
    from audio_lightning.fit.request import parse_fit_args
    from audio_lightning.fit.settings import SHORT

    if option := next((word for word in typed if word.startswith("-")), None):
        raise ConfigError(unknown_option(typed, option, compose([], with_hydra=True), "audio-lightning fit", SHORT))
    place = None if config_dir is None else str(config_dir)
    with user_extensions(quote_paths(word for word in typed if word.startswith(("trust", "hydra"))), place):
        request = parse_fit_args(typed, place)
        print_demo_data(request.lines)
        outcome = run_fit(request, seconds_running())
        trust = trust_options(trusted_modules())
    if outcome.answer is not None:
        print(outcome.answer)
        if outcome.over_budget is not None:
            print(f"note: {outcome.over_budget}")
        print_written(outcome.folder / "report.html", outcome.folder / "model.ckpt")
        print_next("audio-lightning", "predict", outcome.folder, "recordings/", *trust)
    return outcome.exit_code
