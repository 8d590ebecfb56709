"""``audio-lightning models | features | grid``: what can be chosen, and what goes with what."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.answering import answering

if TYPE_CHECKING:
    from rich.table import Table

    from audio_lightning.task import AudioTask, FeatureShape

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Such as data=esc50 data.clip_seconds=1 feature=mfcc."),
]
Classes = Annotated[int, typer.Option(min=2, help="Number of classes.")]


def models_command(overrides: Overrides = None, classes: Classes = 10) -> None:
    """List the models: what each takes, its parameters and its multiply-accumulates for a clip."""

    def run() -> int:
        from rich.markup import escape

        from audio_lightning.catalog import best_feature, cells
        from audio_lightning.config import choices

        feature, keys, task = _settings(overrides, classes)
        table = _table("model", "on", "parameters", "MACs", "any length")
        for name in choices("model"):
            if feature:
                (cell,) = cells([feature], [name], task, keys)
            else:
                cell = best_feature(name, task)
            if cell.network is None:
                table.add_row(name, cell.feature, "-", "-", escape(cell.reason or ""))
                continue
            lengths = "yes" if cell.network.accepts_variable_length else "no"
            table.add_row(name, f"{cell.feature}: {cell.shape}", f"{cell.parameters:,}", f"{cell.macs:,}", lengths)
        _print(table, task)
        return 0

    raise typer.Exit(_answer(overrides, run))


def features_command(overrides: Overrides = None, classes: Classes = 10) -> None:
    """List the features: what each gives for a clip."""

    def run() -> int:
        from rich.markup import escape

        from audio_lightning.catalog import cells
        from audio_lightning.config import choices

        _, keys, task = _settings(overrides, classes)
        table = _table("feature", "gives", "values")
        for name in choices("feature"):
            (cell,) = cells([name], ["cnn"], task, keys)
            values = _values(cell.shape) if cell.shape else "-"
            table.add_row(name, str(cell.shape) if cell.shape else escape(cell.reason or ""), values)
        _print(table, task)
        return 0

    raise typer.Exit(_answer(overrides, run))


def grid_command(overrides: Overrides = None, classes: Classes = 10) -> None:
    """Show which model goes with which feature, and why the others do not."""

    def run() -> int:
        from audio_lightning.catalog import cells
        from audio_lightning.config import choices

        _, keys, task = _settings(overrides, classes)
        names = choices("feature")
        found = {(cell.feature, cell.model): cell for cell in cells(names, choices("model"), task, keys)}
        table = _table("model", *names)
        reasons: dict[str, int] = {}
        for model in choices("model"):
            marks = []
            for feature in names:
                cell = found[feature, model]
                if cell.reason is None:
                    marks.append("ok")
                elif cell.shape is not None and cell.shape.kind != cell.takes:
                    marks.append("-")
                else:
                    marks.append(str(reasons.setdefault(cell.reason, len(reasons) + 1)))
            table.add_row(model, *marks)
        _print(table, task)
        print("-: the model takes the other kind of input, a waveform or a spectrogram")
        for reason, number in reasons.items():
            print(f"{number}: {reason}")
        return 0

    raise typer.Exit(_answer(overrides, run))


def _answer(overrides: list[str] | None, run: Callable[[], int]) -> int:
    """The exit code, with choices and classes of the user's own, where they are named."""
    from audio_lightning.config import opened

    def within() -> int:
        with opened(overrides or []):
            return run()

    return answering(within)


def _settings(overrides: list[str] | None, classes: int) -> "tuple[str | None, list[str], AudioTask]":
    """The feature that was named, what was typed, and the clips that it describes."""
    from audio_lightning.catalog import task_of
    from audio_lightning.config import compose, quote_paths
    from audio_lightning.errors import ConfigError

    lines = quote_paths(overrides or [])
    compose(lines)  # says what is wrong with them
    feature = None
    for line in lines:
        key, _, value = line.partition("=")
        if key == "feature":
            feature = value
        elif key.partition(".")[0] not in ("data", "feature", "model", "trust", "conf_dir", "hydra"):
            raise ConfigError(f"{key} makes no difference here: only data, feature and model keys do")
    return feature, lines, task_of(lines, classes)


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    return table


def _print(table: "Table", task: "AudioTask") -> None:
    from rich.console import Console

    console = Console()
    console.print(table)
    print(f"for clips of {task.clip_seconds:g} s at {task.sample_rate:,} Hz and {task.num_classes} classes")


def _values(shape: "FeatureShape") -> str:
    return f"{math.prod(shape.dims):,}"
