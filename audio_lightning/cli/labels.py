"""``audio-lightning labels``: find label errors from out-of-fold predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.targets import require_writable
from audio_lightning.core.text_tables import Column, print_table, print_text

if TYPE_CHECKING:
    import pandas as pd

    from audio_lightning.fit.label_errors import LabelAudit

WIDTH = 100
"""Characters per line if the output is not a terminal."""

LEAST = 0.001
"""Smallest label quality that is printed as a number."""

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="SWEEP_DIR | RUN_DIR...", help="A sweep over folds, or the runs of all folds."),
]


@exits
def labels_command(
    folders: Folders,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="CSV file for all suspicious clips.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Number of clips to print.")] = 20,
) -> int:
    """Find label errors: clips whose out-of-fold prediction differs from the label, the lowest label quality first.

    The exit code is 0 even if there are some: listen to these clips, because the prediction can be wrong as well.
    """
    if csv_file is not None:
        csv_file = csv_file.expanduser()
        require_writable("--csv", csv_file)
    from audio_lightning.fit.label_errors import audit_labels

    audit = audit_labels([folder.expanduser() for folder in folders])
    _print_basis(audit)
    if not audit.errors.empty:
        _print_clips(audit.errors.head(most), recordings=audit.predictions.recordings)
        if len(audit.errors) > most:
            print(f"and {len(audit.errors) - most:,} more" + ("" if csv_file else "; --csv FILE writes all of them"))
    if csv_file is not None:
        from audio_lightning.core.files import write_csv

        write_csv(csv_file, list(audit.errors.columns), audit.errors.itertuples(index=False))
        print(f"all clips: {csv_file}")
    return 0


def _print_basis(audit: "LabelAudit") -> None:
    """Print the number of clips, the models behind the predictions, and notes on their limits."""
    found, ensemble = audit.predictions, audit.ensemble
    what = "recordings" if found.recordings else "clips"
    members = ", ".join(f"{name} ({weight:.2g})" for name, weight in ensemble.weights.items())
    print_text(
        f"{audit.errors['confident'].sum():,} of {len(found.clips):,} {what} probably have a wrong label, by confident "
        f"learning; the prediction of {len(audit.errors):,} differs from the label (out of fold, by {members}, "
        f"{ensemble.metric.replace('_', ' ')} {ensemble.score:.3f})",
        piped_width=WIDTH,
    )
    for note in audit.notes:
        print_text(f"note: {note}", piped_width=WIDTH)


def _print_clips(errors: "pd.DataFrame", *, recordings: bool) -> None:
    from audio_lightning.data.problems import printable

    columns = [
        Column("recording", whole=True),
        Column("seconds", "right", whole=True),
        Column("label"),
        Column("predicted"),
        Column("label quality", "right"),
    ]
    rows = [
        (
            printable(str(row["path"])),
            "" if recordings else f"{row['start_seconds']:.1f} to {row['end_seconds']:.1f}",
            printable(str(row["label"])) or "none",
            printable(str(row["predicted"])) or "none",
            f"{row['label_quality']:.3f}" if row["label_quality"] >= LEAST else f"< {LEAST}",
        )
        for row in errors.to_dict("records")
    ]
    shown = [place for place in range(len(columns)) if not (recordings and place == 1)]
    print_table(
        [columns[place] for place in shown], [[row[place] for place in shown] for row in rows], piped_width=WIDTH
    )
