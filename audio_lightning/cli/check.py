"""``audio-lightning check``: audit of a data set before training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.completion import ConfigDir
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_demo_data, print_next
from audio_lightning.cli.targets import named_files, require_writable
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.text_tables import Column, print_table

if TYPE_CHECKING:
    from audio_lightning.data.audit import Finding

AXES = ("data", "seed", "trust", "trusted_modules")
"""Config groups and keys that the data depends on."""

SKIPPED = {"missing", "undecodable", "unreadable", "not_finite", "empty"}
"""Kinds of findings that stop a training unless ``data.bad_recordings=skip`` leaves the recordings out."""

EXAMPLES = 3
"""Examples shown for each kind of finding."""

WIDTH = 100
"""Characters per line if the output is not a terminal."""


@exits
def check_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="data=NAME data.root=DIR [data.KEY=VALUE]", help="The data, as for a training."),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="CSV file for all findings.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page with plots and sounds.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="A kind of finding to accept; may be repeated.")
    ] = None,
    config_dir: ConfigDir = None,
) -> int:
    """Check a data set for problems: rows of tables, files, sound, classes and splits.

    The exit code is 1 if there are findings of kinds that --allow does not name.
    """
    overrides, allow = overrides or [], allow or []
    from audio_lightning.config import check_config, compose, quote_paths
    from audio_lightning.config.overrides import command_line
    from audio_lightning.config.suggest import did_you_mean

    for override in overrides:
        _require_data_key(override)
    for option, file in (("--csv", csv_file), ("--report", report)):
        if file is not None:
            require_writable(option, file.expanduser(), named_files(overrides))
    config = compose(quote_paths(overrides))
    check_config(config)
    print_demo_data(quote_paths(overrides))
    from audio_lightning.data.audit import KINDS, audit
    from audio_lightning.data.problems import printable

    for kind in allow:
        if kind not in KINDS:
            raise ConfigError(f"--allow {kind}: no such kind of finding" + did_you_mean(kind, KINDS, listing="kinds"))
    # The following modules import Lightning, which takes seconds; all cheap checks come before.
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
    skippable = {finding.kind for finding in findings if finding.severity == "error"} & SKIPPED
    stops = bool(skippable) and config.data.bad_recordings == "error"
    if stops:
        print("data.bad_recordings=skip trains without the recordings that cannot be read")
    if wrong and report is None:
        print_next("audio-lightning", "check", *words, "--report", "check.html")
    elif stops:
        print_next("python", "train.py", *words, "data.bad_recordings=skip")
    else:
        print_next("python", "train.py", *words)
    return int(wrong)


def _require_data_key(override: str) -> None:
    key = override.partition("=")[0].lstrip("+~")
    if key.partition(".")[0] not in AXES:
        raise ConfigError(f"{override}: only the data is checked; give data=NAME, data.KEY=VALUE or seed=N")


def _show(findings: Sequence["Finding"], allow: Sequence[str], recordings: int, *, complete: bool) -> None:
    """Print a table with a few examples of every kind of finding, the most severe first, and the total.

    Args:
        findings: all findings.
        allow: kinds that are accepted.
        recordings: number of recordings.
        complete: whether all findings are also written to a file.
    """
    from audio_lightning.data.problems import join_equal

    count = f"{recordings:,} recording{'s' * (recordings != 1)}"
    if not findings:
        print(f"no problems in {count}")
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
    total = f"{len(findings):,} problem{'s' * (len(findings) != 1)} in {count}"
    print(total + (f", {allowed:,} of them of allowed kinds" if allowed else ""))
    if not complete and any(len(found) > EXAMPLES for found in kinds.values()):
        print("--csv FILE writes all of them")
