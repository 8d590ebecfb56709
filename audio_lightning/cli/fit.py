"""``audio-lightning fit``: the best classifier for some recordings within a budget."""

from typing import Annotated

import typer

from audio_lightning.cli.completion import ConfigDir, complete_override
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next, print_written

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="data=NAME data.root=DIR [preset=good] [budget=20m] [KEY=VALUE]",
        help="The data, as for a training, how much is tried, and for how long.",
        autocompletion=complete_override,
    ),
]


@exits
def fit_command(words: Words = None, config_dir: ConfigDir = None) -> int:
    """Try candidates under cross-validation, select, and leave one model and a page that says how good it is.

    preset=fast|good|best says how much is tried and kept, budget=20m how long it may take, from the command to the
    page. metric=balanced_accuracy is what is chosen by, exclude=quick leaves candidates out, infer_limit=5ms is what
    predicting a clip may take, refit=true trains the members once more on all recordings, fit.dir=DIR is the folder
    (default: fits/NAME, after the words). sweep.executor=ray, sweep.workers=N: where the trainings run.

    The same line goes on where it stopped; with a larger budget or new recordings it adds to what is there.
    """
    from audio_lightning.config import quote_paths, user_extensions
    from audio_lightning.fit.clock import seconds_running
    from audio_lightning.fit.fitting import run_fit
    from audio_lightning.fit.request import parse_fit_args

    typed = words or []
    place = None if config_dir is None else str(config_dir)
    with user_extensions(quote_paths(word for word in typed if word.startswith(("trust", "hydra"))), place):
        request = parse_fit_args(typed, place)
        outcome = run_fit(request, seconds_running())
    if outcome.answer is not None:
        print(outcome.answer)
        print_written(outcome.folder / "report.html", outcome.folder / "model.ckpt")
        print_next("audio-lightning", "predict", outcome.folder, "recordings/")
    return outcome.exit_code
