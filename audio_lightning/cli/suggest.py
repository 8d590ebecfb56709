"""``audio-lightning suggest``: active learning, the windows of unlabelled recordings to label next."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import BatchSize, Checkpoint, Device, Hop, Recordings, Trust, Window, find_existing
from audio_lightning.cli.output import print_next_on_terminal, print_written
from audio_lightning.cli.targets import require_writable


@exits
def suggest_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    number: Annotated[int, typer.Option("--n", min=1, help="Number of windows.")] = 50,
    like: Annotated[
        Path | None,
        typer.Option(help="Choose the recordings with the window most similar to this clip.", show_default=False),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="FILE.csv; default: stdout.")] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.csv", help="Table of earlier suggestions to leave out; may be repeated."),
    ] = None,
    window: Window = None,
    hop: Hop = None,
    batch_size: BatchSize = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws among uncertain windows.")] = 0,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Choose windows of recordings to label next: uncertain and diverse ones, or windows similar to a clip.

    The table has an empty column `label` to fill in; data=table and data=annotations read it.

    The default hop is that of the training; without windows in the training, or with --window, windows do not overlap.

    The exit code is 1 if a recording cannot be read; stderr names it.
    """
    like = None if like is None else like.expanduser()
    tables = [table.expanduser() for table in labelled or []]
    if output is not None:
        inputs = [checkpoint, *recordings, *tables, *([like] if like else [])]
        require_writable("--output", output.expanduser(), (path.expanduser() for path in inputs))
    path = find_existing(checkpoint)
    from audio_lightning.core.files import write_csv
    from audio_lightning.inference.load import load_classifier
    from audio_lightning.inference.suggest import COLUMNS, suggest

    found = suggest(
        load_classifier(path, device, trust=trust),
        [recording.expanduser() for recording in recordings],
        number=number,
        like=like,
        labelled=tables,
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
