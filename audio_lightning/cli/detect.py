"""``audio-lightning detect``: sound event detection in recordings of any length, with tables for Raven and Audacity."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import (
    BatchSize,
    Checkpoint,
    Device,
    Recordings,
    Trust,
    Window,
    find_existing,
    print_failed,
    writable,
)  # fmt: skip
from audio_lightning.cli.output import print_written
from audio_lightning.cli.targets import protect, require_writable
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.utf8 import as_utf8

if TYPE_CHECKING:
    from pandas import DataFrame

    from audio_lightning.inference.detect import Outcome
    from audio_lightning.inference.event_tables import EventTable, Format


class TableFormat(StrEnum):
    """File format of events."""

    RAVEN = "raven"
    AUDACITY = "audacity"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Smooth(StrEnum):
    """Smoothing of the scores of neighbouring windows."""

    MEDIAN = "median"
    MEAN = "mean"
    NONE = "none"


@exits
def detect_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    output_format: Annotated[
        TableFormat | None, typer.Option("--format", help="File format; default: by the suffix of --output, else csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="One table (FILE.csv), or a folder for one table per recording.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="auto | NUMBER | CLASS=NUMBER", help="Minimum probability of an event; may be repeated."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Class to leave out; may be repeated.")
    ] = None,
    event_duration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="auto | none | SECONDS | CLASS=SECONDS",
            help="Typical duration of events shorter than a window; auto: of the validation clips; may be repeated.",
        ),
    ] = None,
    merge_gap: Annotated[float, typer.Option(help="Longest gap within an event, in seconds.")] = 0.0,
    min_duration: Annotated[float, typer.Option(help="Duration of the shortest event, in seconds.")] = 0.0,
    smooth: Annotated[Smooth, typer.Option(help="Smoothing of the scores of overlapping windows.")] = Smooth.MEDIAN,
    window: Window = None,
    hop: Annotated[
        float | None, typer.Option(help="Seconds between window starts; default: a quarter of a window.")
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip recordings whose table exists in the folder --output.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of processes, limited by cores and memory; default: by the number of recordings, too."
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Annotations to evaluate against: a file, or a folder with one per recording.")
    ] = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Detect sound events: onset, offset and class, in recordings of any length.

    Classes that mean no event (background, silence, unknown, ... or a name that begins with _) are reported only if
    --threshold CLASS=NUMBER names them.

    The exit code is 1 if a recording cannot be read; stderr names it.
    """
    folder = output if output is not None and (output.is_dir() or not output.suffix) else None
    if skip_existing and (folder is None or reference is not None):
        raise ConfigError("--skip-existing: needs --output FOLDER, and excludes --reference; change the options")
    path = find_existing(checkpoint)
    from audio_lightning.inference.detect import (
        DetectionPlan,
        Processes,
        detect_all,
        make_jobs,
        number_of_processes,
    )
    from audio_lightning.inference.event_durations import choose_durations
    from audio_lightning.inference.event_metrics import read_reference
    from audio_lightning.inference.event_tables import BY_SUFFIX
    from audio_lightning.inference.events import EventSettings
    from audio_lightning.inference.load import load_classifier
    from audio_lightning.inference.thresholds import choose_thresholds

    by_suffix = BY_SUFFIX.get(output.suffix.lower()) if output is not None and folder is None else None
    kind: Format = output_format.value if output_format else by_suffix or "csv"
    jobs = make_jobs([argument.expanduser() for argument in recordings], folder, kind)
    total = len(jobs)
    if skip_existing:
        jobs = [job for job in jobs if job.output is None or not job.output.exists()]
    reference = reference and reference.expanduser()
    of_reference = [reference, *(reference.rglob("*") if reference.is_dir() else ())] if reference else []
    inputs = [path, *of_reference, *(job.recording for job in jobs)]
    table = None
    if folder is None:
        table = _table(kind, output, total, inputs)
    else:
        protect("--output", (job.output for job in jobs if job.output is not None), inputs)
    annotations = read_reference(reference, [job.recording for job in jobs]) if reference else None
    classifier = load_classifier(path, device, trust=trust)
    thresholds, notes = choose_thresholds(classifier, threshold, ignore or [])
    durations, of_durations = choose_durations(classifier, event_duration)
    settings = EventSettings(thresholds, smooth.value, merge_gap, min_duration, durations)
    plan = DetectionPlan(settings, window, hop, batch_size).resolved(classifier)
    number, fewer = number_of_processes(workers, len(jobs), device)
    for note in [*notes, *of_durations, *filter(None, [fewer])]:
        print(f"note: {note}", file=sys.stderr)
    processes = Processes(number, path, device, tuple(trust or ())) if number > 1 else None
    began = time.perf_counter()
    with writable(output), table or nullcontext():
        found = list(_with_errors_named(detect_all(classifier, jobs, plan, kind, table=table, processes=processes)))
    _print_summary(found, total - len(jobs), time.perf_counter() - began)
    if output is not None:
        print_written(output)
    if annotations is not None:
        _print_metrics(found, annotations)
    return print_failed(sum(outcome.error is not None for outcome in found), len(jobs))


def _table(kind: "Format", output: Path | None, recordings: int, inputs: Iterable[Path]) -> "EventTable":
    """Open one table for the events of all recordings."""
    from audio_lightning.inference.event_tables import event_table

    if kind == "audacity" and recordings > 1:
        raise ConfigError(
            f"--format audacity: a label track is for one recording, found {recordings:,}; give --output FOLDER"
        )
    table = event_table(output, kind)
    if output is not None:
        require_writable("--output", output, inputs)
        output.parent.mkdir(parents=True, exist_ok=True)
    return table


def _with_errors_named(outcomes: "Iterable[Outcome]") -> "Iterator[Outcome]":
    for outcome in outcomes:
        if outcome.error is not None:
            print(outcome.error, file=sys.stderr)
        yield outcome


def _print_summary(found: "list[Outcome]", skipped: int, seconds: float) -> None:
    sound = sum(outcome.seconds for outcome in found)
    events = sum(len(outcome.events) for outcome in found)
    factor = f", real-time factor {seconds / sound:.4f}" if sound else ""
    left_out = f"; {skipped:,} skipped, as their tables exist" if skipped else ""
    print(
        f"{events:,} events in {len(found):,} recording{'s' * (len(found) != 1)} of {sound / 60:,.1f} min "
        f"(in {seconds:.1f} s{factor}){left_out}",
        file=sys.stderr,
    )


def _print_metrics(found: "list[Outcome]", annotations: "DataFrame") -> None:
    from audio_lightning.inference.detect import to_frame
    from audio_lightning.inference.event_metrics import evaluate_events

    seconds = {as_utf8(outcome.recording): outcome.seconds for outcome in found if outcome.error is None}
    for name, value in evaluate_events(to_frame(found), annotations, seconds=seconds).items():
        print(f"{name} {value:.4f}", file=sys.stderr)
