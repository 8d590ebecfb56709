"""``audio-lightning evaluate``: test a classifier again."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.arguments import Checkpoint, Trust, find_existing, writable
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next_on_terminal, print_written
from audio_lightning.core.files import to_json
from audio_lightning.training.console import print_metrics


@exits
def evaluate_command(
    checkpoint: Checkpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data=NAME] [data.KEY=VALUE]...", help="Other data, or the run's own changed."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json and predictions.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    trust: Trust = None,
) -> None:
    """Test a classifier again, on the test clips of its run or on other labelled recordings.

    Classes of other recordings are matched by name. All of them are tested unless they have a test part of their own,
    or `data.split` and the like say which. Those that were trained on are counted.
    """
    path = find_existing(checkpoint)
    from audio_lightning.config import compose, quote_paths

    # A choice that does not exist is said before torch is imported.
    compose(quote_paths(line for line in overrides or [] if line.startswith(("data=", "conf_dir=", "trust="))))
    from audio_lightning.inference.evaluate import evaluate

    with writable(output):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
    found = evaluate(path, quote_paths(overrides or []), output=output, trust=trust)
    if as_json:
        print(to_json(found.metrics, indent=2))
    else:
        print_metrics(found.metrics, "test")
    if found.unknown_classes:
        print(
            f"left out, because the classifier does not know them: {', '.join(found.unknown_classes)}",
            file=sys.stderr,
        )
    if not as_json:
        if output is not None:
            print_written(*(output / name for name in ("metrics.json", "predictions.csv", "per_class.csv")))
        print_next_on_terminal("audio-lightning", "predict", checkpoint, "FILE.wav")
