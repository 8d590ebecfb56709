"""``audio-lightning check``: what is wrong with a data set, before anything is trained on it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.completion import ConfigDir
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.text_tables import Column, print_table

if TYPE_CHECKING:
    from audio_lightning.data.audit import Finding

AXES = ("data", "seed", "trust", "trusted_modules")
"""Keys that the data depends on."""

SKIPPED = {"missing", "undecodable", "unreadable", "not_finite", "empty"}
"""Kinds of findings that stop a training unless ``data.bad_recordings`` leaves the recordings out."""

EXAMPLES = 3
WIDTH = 100
"""Columns of a table that is not written to a terminal."""


@exits
def check_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="data=NAME data.root=DIR [data.KEY=VALUE]", help="The data, as for a training."),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="File for all findings: kind, where, what.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to look at and listen to.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="A kind of finding that is all right; may be repeated.")
    ] = None,
    config_dir: ConfigDir = None,
) -> int:
    """Look for everything that is wrong with a data set: rows, files, sound, classes, splits.

    Exit code 1 if anything is found, but for the kinds that --allow names.
    """
    overrides, allow = overrides or [], allow or []
    from audio_lightning.config import check_config, compose, quote_paths
    from audio_lightning.config.overrides import command_line
    from audio_lightning.config.suggest import did_you_mean

    for override in overrides:
        _require_data_key(override)
    for option, file in (("--csv", csv_file), ("--report", report)):
        if file is not None:
            require_writable(option, file.expanduser())
    config = compose(quote_paths(overrides))
    check_config(config)
    from audio_lightning.data.audit import KINDS, audit
    from audio_lightning.data.problems import printable

    for kind in allow:
        if kind not in KINDS:
            raise ConfigError(f"--allow {kind}: there is no such kind" + did_you_mean(kind, KINDS, listing="kinds"))
    # Lightning is imported from here on, when everything cheap has been checked.
    from audio_lightning.core.files import write_csv
    from audio_lightning.data.opening import examine
    from audio_lightning.training.decoding_progress import decoding_shown
    from audio_lightning.training.setup import settled_data

    datamodule = settled_data(config)
    with decoding_shown(datamodule):
        examination = examine(datamodule)
    findings = audit(datamodule, examination)
    for note in examination.manifest.notes:
        print(f"note: {printable(note)}")
    _show(findings, allow, len(examination.audio), complete=csv_file is not None)
    if csv_file is not None:
        rows = ((finding.severity, finding.kind, finding.where, finding.what) for finding in findings)
        write_csv(csv_file.expanduser(), ("severity", "kind", "where", "what"), rows)
        print(f"all findings: {csv_file}")
    if report is not None:
        from audio_lightning.report.data_page import write_data_page

        write_data_page(report.expanduser(), datamodule, examination, findings)
        print(f"page: {report}")
    words = command_line(overrides, config_dir)
    wrong = any(finding.kind not in allow for finding in findings)
    if wrong and report is None:
        print_next("audio-lightning", "check", *words, "--report", "check.html")
    elif {finding.kind for finding in findings if finding.severity == "error"} & SKIPPED:
        print_next("python", "train.py", *words, "data.bad_recordings=skip")
    else:
        print_next("python", "train.py", *words)
    return int(wrong)


def _require_data_key(override: str) -> None:
    key = override.partition("=")[0].lstrip("+~")
    if key.partition(".")[0] not in AXES:
        raise ConfigError(f"{override}: only the data is checked; give data=NAME, data.KEY=VALUE or seed=N")


def require_writable(option: str, file: Path) -> None:
    """Find out before the recordings are decoded, which may take hours."""
    above = next(parent for parent in file.absolute().parents if parent.exists())
    if file.is_dir():
        raise ConfigError(f"{option} {file}: is a folder, expected the name of a file")
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"{option} {file}: nothing can be written to {above}; choose another folder")


def _show(findings: Sequence["Finding"], allow: Sequence[str], recordings: int, *, complete: bool) -> None:
    """A table with a few examples of every kind, the gravest first, and the sum."""
    from audio_lightning.data.problems import join_equal

    count = f"{recordings:,} recording{'s' * (recordings != 1)}"
    if not findings:
        print(f"nothing wrong in {count}")
        return
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    rows = []
    for kind, found in kinds.items():
        joined = join_equal(found)
        examples = [f"{same.places(EXAMPLES)}: {same.what}" for same in joined[:EXAMPLES]]
        if rest := sum(len(same.where) for same in joined[EXAMPLES:]):
            examples.append(f"and {rest:,} more")
        name = f"{kind} (allowed)" if kind in allow else kind
        rows.append((found[0].severity, name, f"{len(found):,}", "\n".join(examples)))
    columns = (
        Column("severity", whole=True),
        Column("kind", whole=True),
        Column("count", "right", whole=True),
        Column("for example"),
    )
    print_table(columns, rows, keys=3, piped_width=WIDTH)
    allowed = sum(finding.kind in allow for finding in findings)
    said = f"{len(findings):,} problem{'s' * (len(findings) != 1)} in {count}"
    print(said + (f", {allowed:,} of them of allowed kinds" if allowed else ""))
    if not complete and any(len(found) > EXAMPLES for found in kinds.values()):
        print("--csv FILE writes all of them")
