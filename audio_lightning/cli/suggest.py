"""``audio-lightning suggest``: which windows of unlabelled recordings to label next."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.check import require_writable
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import BatchSize, Checkpoint, Device, Hop, Recordings, Trust, Window, find_existing
from audio_lightning.cli.output import print_next_on_terminal, print_written


@exits
def suggest_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    number: Annotated[int, typer.Option("--n", min=1, help="Windows to choose.")] = 50,
    like: Annotated[
        Path | None,
        typer.Option(help="A clip: choose the recordings with the most similar window.", show_default=False),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="FILE.csv; default: the screen.")] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.csv", help="Earlier suggestions to leave out; may be repeated."),
    ] = None,
    window: Window = None,
    hop: Hop = None,
    batch_size: BatchSize = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws among uncertain windows.")] = 0,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Choose the windows of recordings that are worth a label: uncertain and unlike each other, or like a clip.

    The table has an empty column `label` to fill in; data=table and data=annotations read it. Exit code 1 if a
    recording could not be read; it is named on the error output.
    """
    if output is not None:
        require_writable("--output", output.expanduser())
    path = find_existing(checkpoint)
    from audio_lightning.core.files import write_csv
    from audio_lightning.inference.load import load_classifier
    from audio_lightning.inference.suggest import COLUMNS, suggest

    found = suggest(
        load_classifier(path, device, trust=trust),
        [recording.expanduser() for recording in recordings],
        number=number,
        like=None if like is None else like.expanduser(),
        labelled=[table.expanduser() for table in labelled or []],
        seed=seed,
        window_seconds=window,
        hop_seconds=hop,
        batch_size=batch_size,
    )
    for error in found.errors:
        print(error, file=sys.stderr)
    rows = [suggestion.row() for suggestion in found.windows]
    if output is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *rows])
    else:
        write_csv(output.expanduser(), COLUMNS, rows)
        print_written(output)
    root = recordings[0] if len(recordings) == 1 and recordings[0].is_dir() else Path()
    columns = ("data.start_column=start_seconds", "data.stop_column=end_seconds")
    table = output or "next.csv"
    print_next_on_terminal("python", "train.py", "data=table", f"data.root={root}", f"data.table={table}", *columns)
    return int(bool(found.errors))
