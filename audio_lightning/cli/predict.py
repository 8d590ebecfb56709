"""``audio-lightning predict``: classes of recordings, as a table, CSV or JSON."""

import csv
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.arguments import (
    BatchSize,
    Checkpoint,
    Device,
    Hop,
    Recordings,
    Trust,
    Window,
    few,
    find_existing,
    output_file,
)
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next_on_terminal, print_written
from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import to_json
from audio_lightning.core.task import LABEL_SEPARATOR, AudioTask

if TYPE_CHECKING:
    from audio_lightning.inference.predict import Prediction


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@exits
def predict_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    window: Window = None,
    hop: Hop = None,
    per_recording: Annotated[
        bool, typer.Option("--per-recording", help="One row for each recording: the mean of its windows.")
    ] = False,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the K most probable classes.")] = None,
    output_format: Annotated[
        Format | None, typer.Option("--format", help="Default: a table on a terminal, else CSV.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write to; default: the screen.")] = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Predict the class (or classes) of recordings of any rate, channels and length; longer ones window by window.

    Exit code 1 if a recording could not be read; it has a row that says why.
    """
    chosen = output_format or (Format.TABLE if output is None and sys.stdout.isatty() else Format.CSV)
    if chosen is Format.TABLE and output is not None:
        raise ConfigError("--format table is for the screen; leave --output out, or choose csv or json")
    path = find_existing(checkpoint)
    from audio_lightning.audio import find_recordings
    from audio_lightning.inference.load import load_classifier
    from audio_lightning.inference.predict import predict

    classifier = load_classifier(path, device, trust=trust)
    files = find_recordings(path.expanduser() for path in recordings)
    options = {"window_seconds": window, "hop_seconds": hop, "batch_size": batch_size}
    predictions = predict(classifier, files, per_recording=per_recording, **options)
    if chosen is Format.TABLE:
        failed = print_predictions(predictions, classifier.task, top_k)
    else:
        write = _write_csv if chosen is Format.CSV else _write_json
        with output_file(output) as file:
            failed = write(file, predictions, classifier.task, top_k)
    if output is None:
        typed = {"--window": window, "--hop": hop, "--top-k": top_k}
        options_typed = [str(word) for pair in typed.items() if pair[1] is not None for word in pair]
        options_typed += ["--per-recording"] * per_recording
        where = ("--output", "predictions.csv")
        print_next_on_terminal("audio-lightning", "predict", checkpoint, *few(recordings), *options_typed, *where)
    else:
        print_written(output)
        reader = "read_csv" if chosen is Format.CSV else "read_json"
        print_next_on_terminal("python", "-c", f"import pandas; print(pandas.{reader}({str(output)!r}))")
    if failed:
        print(f"{failed} of {len(files)} recordings could not be read", file=sys.stderr)
    return 1 if failed else 0


def _write_csv(file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None) -> int:
    """Rows as they come; returns the number of recordings that could not be read."""
    writer = csv.writer(file, lineterminator="\n")
    ranks = range(1, min(top_k or 0, task.num_classes) + 1)
    columns = (
        [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
        if top_k
        else ["predicted", *(f"probability {name}" for name in task.classes)]
    )
    writer.writerow(["path", "start_seconds", "end_seconds", *columns, "error"])
    failed = set[Path]()
    for prediction in predictions:
        if prediction.probabilities is None or prediction.labels is None:
            failed.add(prediction.path)
            writer.writerow([prediction.path, "", "", *[""] * len(columns), prediction.error])
            continue
        values: list[str] = (
            [value for name, share in _ranked(prediction, task, top_k) for value in (name, f"{share:.8f}")]
            if top_k
            else [
                LABEL_SEPARATOR.join(prediction.labels),
                *(f"{share:.8f}" for share in prediction.probabilities.tolist()),
            ]
        )
        writer.writerow(
            [
                prediction.path,
                f"{prediction.start_seconds:.3f}",
                f"{prediction.stop_seconds:.3f}",
                *values,
                "",
            ]
        )
    return len(failed)


def _write_json(file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None) -> int:
    """One array, an element at a time; returns the number of recordings that could not be read."""
    failed, separator = set[Path](), "[\n"
    for prediction in predictions:
        entry: dict[str, object] = {"path": str(prediction.path)}
        if prediction.labels is None:
            failed.add(prediction.path)
            entry["error"] = prediction.error
        else:
            entry |= {
                "start_seconds": round(prediction.start_seconds or 0.0, 3),
                "end_seconds": round(prediction.stop_seconds or 0.0, 3),
                "predicted": prediction.labels if task.multilabel else prediction.labels[0],
                "probabilities": dict(_ranked(prediction, task, top_k)),
            }
        file.write(separator + to_json(entry))
        separator = ",\n"
    file.write("\n]\n" if separator == ",\n" else "[]\n")
    return len(failed)


def _ranked(prediction: "Prediction", task: AudioTask, top_k: int | None) -> list[tuple[str, float]]:
    assert prediction.probabilities is not None
    pairs = sorted(zip(task.classes, prediction.probabilities.tolist()), key=lambda pair: -pair[1])
    return pairs[:top_k]
