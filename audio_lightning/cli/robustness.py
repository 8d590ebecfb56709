"""``audio-lightning robustness``: evaluate a classifier on corrupted test clips."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.completion import ConfigDir
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Device, Trust, find_existing, writable
from audio_lightning.cli.output import print_written
from audio_lightning.core.files import check_free
from audio_lightning.core.messages import below_here
from audio_lightning.core.text_tables import Column, print_table, print_text

if TYPE_CHECKING:
    from audio_lightning.inference.robustness import ConditionResult

WIDTH = 100
"""Characters per line if the output is not a terminal."""


@exits
def robustness_command(
    checkpoint: Checkpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data=NAME] [data.KEY=VALUE]...", help="Other data, or changes to the run's data."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for robustness.csv, .json and .png.")] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,...",
            help="noise, level, reverberation, codec, telephone, shift, clipping, sample_rate; default: all.",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR_or_CKPT", help="Another classifier, tested on the same clips.")
    ] = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of test clips, drawn at random; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of noise, room responses and drawn clips.")] = 0,
    device: Device = "cpu",
    trust: Trust = None,
    config_dir: ConfigDir = None,
) -> None:
    """Evaluate a classifier on corrupted clips: noise, level, reverberation, codecs, telephone, shift, clipping, rate.

    The clips are the same as for `audio-lightning evaluate`. Each metric, and its difference to the clean clips, paired
    by clip, has a 95 % interval over groups of clips.
    """
    path = find_existing(checkpoint)
    other = None if against is None else find_existing(against)
    from audio_lightning.config import quote_paths
    from audio_lightning.config.override_checks import check_choices

    check_choices(line for line in overrides or [] if line.startswith("data="))  # before torch is imported
    from audio_lightning.core.progress import progress_shown
    from audio_lightning.inference.robustness import robustness, write_robustness

    if output is not None:
        check_free("--output", output, own=path)
    with writable(output):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
    with progress_shown("test clips corrupted") as progress:
        rows = robustness(
            path,
            quote_paths(overrides or []),
            against=other,
            only=[word for word in (only or "").split(",") if word],
            clips=clips,
            seed=seed,
            device=device,
            trust=trust,
            config_dir=config_dir,
            progress=progress,
        )
    _print_rows(rows)
    if output is not None:
        from audio_lightning.report.model_card import card_renewed

        with writable(output), card_renewed(output):
            print_written(*write_robustness(output, rows))


def _print_rows(rows: "Sequence[ConditionResult]") -> None:
    first = rows[0]
    metric = first.metric.replace("_", " ")
    print_text(
        f"{first.num_clips:,} test clips in {first.num_groups:,} groups; in brackets: 95 % interval over groups; "
        "difference: to the clean clips, paired by clip",
        piped_width=WIDTH,
    )
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        cells = [
            [
                row.corruption.replace("_", " "),
                row.condition,
                _with_interval(f"{row.score:.3f}", row.low, row.high),
                _difference(row.difference, row.difference_low, row.difference_high)
                if row.corruption != "none"
                else "",
                _difference(row.difference_to_first, row.difference_to_first_low, row.difference_to_first_high),
            ]
            for row in own
        ]
        names = ("corruption", "condition", metric, "difference", "to the first")
        shown = [place for place, _ in enumerate(names) if any(row[place] for row in cells)]
        columns = [Column(names[place], whole=True) for place in shown]
        cells = [[row[place] for place in shown] for row in cells]
        print()
        print(below_here(Path(model)))
        print_table(columns, cells, keys=2, piped_width=WIDTH)


def _difference(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None else _with_interval(f"{value:+.3f}", low, high, sign="+")


def _with_interval(figure: str, low: float | None, high: float | None, sign: str = "") -> str:
    return figure if low is None or high is None else f"{figure} [{low:{sign}.3f}, {high:{sign}.3f}]"
