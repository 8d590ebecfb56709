"""``audio-lightning predict | embed | evaluate``: a trained classifier on other recordings."""

import csv
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from audio_lightning.cli.completion import ConfigDir
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next_on_terminal, print_written
from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.cli.submission import TableOptions, read_request, said, table_among, write_answers
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import nearest_path, to_json
from audio_lightning.core.task import LABEL_SEPARATOR, AudioTask
from audio_lightning.training.console import print_metrics

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.embed import Embedding
    from audio_lightning.inference.onnx_model import OnnxModel
    from audio_lightning.inference.predict import Prediction

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR_or_CKPT", help="A folder of a run or a fit, a checkpoint file, or hf://OWNER/NAME."
    ),
]
Recordings = Annotated[list[Path], typer.Argument(help="Files, and folders to look through.")]
CheckpointOrOnnx = Annotated[
    Path, typer.Argument(metavar="RUN_DIR_or_CKPT", help="A folder of a run or a fit, a checkpoint, or a .onnx file.")
]
RecordingsOrTable = Annotated[
    list[Path], typer.Argument(help="Files, and folders to look through; or a table that names recordings.")
]
Window = Annotated[float | None, typer.Option(help="Seconds a window; default: a clip of the training.")]
Hop = Annotated[float | None, typer.Option(help="Seconds from window to window; default: as trained, or a window.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows at once.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="A module of your own whose classes may be named; may be repeated."),
]


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@exits
def predict_command(
    checkpoint: CheckpointOrOnnx,
    recordings: RecordingsOrTable,
    window: Window = None,
    hop: Hop = None,
    per_recording: Annotated[
        bool, typer.Option("--per-recording", help="One row for each recording: the mean of its windows.")
    ] = False,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the K most probable classes.")] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P|CLASS=P", help="Least probability of a prediction, else `unknown`; may be repeated by class."
        ),
    ] = None,
    min_precision: Annotated[
        float | None, typer.Option(help="Share of the predictions that shall be right; the threshold follows.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Probabilities before calibration.")] = False,
    typicality: Annotated[
        bool,
        typer.Option("--typicality", help="Share of the validation clips less typical; 0: unlike those trained on."),
    ] = False,
    output_format: Annotated[
        Format | None, typer.Option("--format", help="Default: a table on a terminal, else CSV.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write to; default: the screen.")] = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
    root: Annotated[Path | None, typer.Option(help="Of a table: folder with its recordings; default: its own.")] = None,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a table: sample with the wanted rows and columns.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a table: the column that names recordings.")
    ] = None,
) -> int:
    """Predict the class (or classes) of recordings of any rate, channels and length; longer ones window by window.

    A table of recordings in their place (test.csv) is answered row by row, as a submission: its columns that tell rows
    apart, and `label`; with a column for each class, their probabilities. A recording is answered as a whole.

    Exit code 1 if a recording could not be read; it has a row that says why, or in a submission an empty answer.
    """
    options: dict[str, Any] = {"window_seconds": window, "hop_seconds": hop, "batch_size": batch_size}
    of_table = TableOptions(root, submission, path_column)
    if (table := table_among(recordings, of_table)) is not None:
        if threshold or min_precision is not None or raw or typicality:
            raise ConfigError(
                "--threshold, --min-precision, --raw and --typicality are for recordings, not for a table of them"
            )
        if output_format not in (None, Format.CSV):
            raise ConfigError(f"--format {output_format}: a table of recordings is answered as CSV; leave it out")
        return _answer(checkpoint, table, of_table, output, top_k, device, trust, options)
    chosen = output_format or (Format.TABLE if output is None and sys.stdout.isatty() else Format.CSV)
    if chosen is Format.TABLE and output is not None:
        raise ConfigError("--format table is for the screen; leave --output out, or choose csv or json")
    classifier, files = _predictor(checkpoint, device, trust), _found(recordings)
    from audio_lightning.inference.predict import predict

    options |= {"raw": raw, "typicality": typicality}
    if threshold or min_precision is not None:
        from audio_lightning.inference.rejection import choose_thresholds

        options["thresholds"], said = choose_thresholds(classifier, threshold or [], min_precision)
        if said:
            print(said, file=sys.stderr)
    predictions = predict(classifier, files, per_recording=per_recording, **options)
    if chosen is Format.TABLE:
        failed = print_predictions(predictions, classifier.task, top_k)
    else:
        write = _write_csv if chosen is Format.CSV else _write_json
        with _output(output) as file:
            failed = write(file, predictions, classifier.task, top_k, typicality=typicality)
    if output is None:
        typed = {"--window": window, "--hop": hop, "--top-k": top_k, "--min-precision": min_precision}
        words = [str(word) for pair in typed.items() if pair[1] is not None for word in pair]
        words += [word for text in threshold or [] for word in ("--threshold", text)]
        words += ["--per-recording"] * per_recording + ["--raw"] * raw + ["--typicality"] * typicality
        where = ("--output", "predictions.csv")
        print_next_on_terminal("audio-lightning", "predict", checkpoint, *_few(recordings), *words, *where)
    else:
        reader = "read_csv" if chosen is Format.CSV else "read_json"
        _print_written(output, f"import pandas; print(pandas.{reader}({str(output)!r}))")
    return print_failed(failed, len(files))


def _answer(
    checkpoint: Path,
    table: Path,
    of_table: TableOptions,
    output: Path | None,
    top_k: int | None,
    device: str,
    trust: list[str] | None,
    options: dict[str, Any],
) -> int:
    """Answer a table of recordings."""
    classifier = _predictor(checkpoint, device, trust)
    request = read_request(table, classifier, of_table)
    with _output(output) as file:
        failed = write_answers(file, request, classifier, top_k, **options)
    for error in failed:
        print(error, file=sys.stderr)
    print(said(table, request, classifier.task.classes), file=sys.stderr)
    if output is not None:
        print_written(output)
    return print_failed(len(failed), len(set(request.recordings)))


@exits
def embed_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    output: Annotated[Path | None, typer.Option(help="FILE.npz or FILE.csv; default: CSV on the screen.")] = None,
    window: Window = None,
    hop: Hop = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Write the embeddings of recordings, window by window: the input of the network's head.

    Exit code 1 if a recording could not be read; it is named on the error output.
    """
    classifier, files = _classifier(checkpoint, device, trust), _found(recordings)
    from audio_lightning.inference.embed import embed

    found = embed(classifier, files, window_seconds=window, hop_seconds=hop, batch_size=batch_size)
    failed = _write_embeddings(found, classifier.embedding_dim, output)
    if output is None:
        print_next_on_terminal("audio-lightning", "embed", checkpoint, *_few(recordings), "--output", "embeddings.npz")
    elif output.suffix == ".npz":
        _print_written(output, f"import numpy; print(numpy.load({str(output)!r})['embedding'].shape)")
    else:
        _print_written(output, f"import pandas; print(pandas.read_csv({str(output)!r}))")
    return print_failed(failed, len(files))


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
    config_dir: ConfigDir = None,
) -> None:
    """Test a classifier again, on the test clips of its run or on other labelled recordings.

    Classes of other recordings are matched by name. All of them are tested unless they have a test part of their own,
    or `data.split` and the like say which. Those that were trained on are counted. A fit has no test clips of its own:
    on its recordings, the figure of its cross-validation is printed.
    """
    path = find_existing(checkpoint)
    from audio_lightning.config import quote_paths
    from audio_lightning.config.override_checks import check_choices

    check_choices(line for line in overrides or [] if line.startswith("data="))  # before torch is imported
    from audio_lightning.fit.evaluation import evaluate

    with writable(output):
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
    found = evaluate(path, quote_paths(overrides or []), output=output, trust=trust, config_dir=config_dir)
    if as_json:
        print(to_json(found.metrics, indent=2))
    else:
        print_metrics(found.metrics, "test")
    if found.unknown_classes:
        unknown = ", ".join(found.unknown_classes)
        print(f"left out, because the classifier does not know them: {unknown}", file=sys.stderr)
    if not as_json:
        if output is not None:
            print_written(*(output / name for name in ("metrics.json", "predictions.csv", "per_class.csv")))
        print_next_on_terminal("audio-lightning", "predict", checkpoint, "FILE.wav")


def find_existing(checkpoint: Path) -> Path:
    """The checkpoint, found before torch is imported, which takes seconds, and missed before Hydra is.

    One of the Hugging Face hub is downloaded.

    Raises:
        CheckpointError: there is none.
        ConfigError: see :func:`audio_lightning.inference.hub.pull`.
    """
    path = checkpoint.expanduser()
    if str(path).startswith("hf:/"):
        from audio_lightning.inference.hub import pull

        return pull(path)
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder{nearest_path(path)}")
    from audio_lightning.run_folder import find_checkpoint

    return find_checkpoint(path)


def _predictor(checkpoint: Path, device: str, trust: list[str] | None) -> "Classifier | OnnxModel":
    """A classifier, or a model of ONNX, for which torch is not imported."""
    from audio_lightning.inference.onnx_model import is_onnx, load_onnx

    return load_onnx(checkpoint, device=device) if is_onnx(checkpoint) else _classifier(checkpoint, device, trust)


def _classifier(checkpoint: Path, device: str, trust: list[str] | None) -> "Classifier":
    path = find_existing(checkpoint)
    from audio_lightning.inference.load import load_classifier

    return load_classifier(path, device, trust=trust)


def _found(recordings: Iterable[Path]) -> list[Path]:
    from audio_lightning.audio import find_recordings

    return find_recordings(path.expanduser() for path in recordings)


def _few(recordings: list[Path]) -> list[Path]:
    """Recordings for a command that is shown: those of a shell's pattern are named by their folder."""
    return recordings if len(recordings) <= 3 else [recordings[0].parent]


def _print_written(output: Path, reading: str) -> None:
    print_written(output)
    print_next_on_terminal("python", "-c", reading)


def print_failed(failed: int, total: int) -> int:
    """Print how many recordings could not be read, if any, and return the exit code."""
    if failed:
        print(f"{failed} of {total} recordings could not be read", file=sys.stderr)
    return min(failed, 1)


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """The file to write to; None for the standard output."""
    with writable(path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") if path else nullcontext(sys.stdout) as file:
            yield file


@contextmanager
def writable(path: Path | None) -> Iterator[None]:
    """Say in a line that nothing can be written where the user wants it; a full disk is said by all commands alike."""
    try:
        yield
    except OSError as error:
        if path is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from error


def _write_csv(
    file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None, *, typicality: bool
) -> int:
    """Rows as they come; returns the number of recordings that could not be read."""
    writer = csv.writer(file, lineterminator="\n")
    columns = ["predicted", *(f"probability {name}" for name in task.classes)]
    if top_k:
        ranks = range(1, min(top_k, task.num_classes) + 1)
        columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
    columns += ["typicality"] * typicality
    writer.writerow(["path", "start_seconds", "end_seconds", *columns, "error"])
    failed = set[Path]()
    for found in predictions:
        if found.probabilities is None or found.labels is None:
            failed.add(found.path)
            writer.writerow([found.path, "", "", *[""] * len(columns), found.error])
            continue
        values = [LABEL_SEPARATOR.join(found.labels), *(f"{share:.8f}" for share in found.probabilities.tolist())]
        if top_k:
            values = [value for name, share in _ranked(found, task, top_k) for value in (name, f"{share:.8f}")]
        if typicality:
            values.append(f"{found.typicality:.4f}")
        writer.writerow([found.path, f"{found.start_seconds:.3f}", f"{found.stop_seconds:.3f}", *values, ""])
    return len(failed)


def _write_json(
    file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None, *, typicality: bool
) -> int:
    """One array, an element at a time; returns the number of recordings that could not be read."""
    failed, separator = set[Path](), "[\n"
    for found in predictions:
        entry: dict[str, object] = {"path": str(found.path)}
        if found.labels is None:
            failed.add(found.path)
            entry["error"] = found.error
        else:
            entry |= {
                "start_seconds": round(found.start_seconds or 0.0, 3),
                "end_seconds": round(found.stop_seconds or 0.0, 3),
                "predicted": found.labels if task.multilabel else found.labels[0],
                "probabilities": dict(_ranked(found, task, top_k)),
            }
            if typicality:
                entry["typicality"] = found.typicality
        file.write(separator + to_json(entry))
        separator = ",\n"
    file.write("\n]\n" if separator == ",\n" else "[]\n")
    return len(failed)


def _ranked(found: "Prediction", task: AudioTask, top_k: int | None) -> list[tuple[str, float]]:
    assert found.probabilities is not None
    return sorted(zip(task.classes, found.probabilities.tolist()), key=lambda pair: -pair[1])[:top_k]


def _write_embeddings(found: "Iterator[Embedding]", size: int, output: Path | None) -> int:
    """Rows as they come, or arrays at the end; returns the number of recordings that could not be read."""
    failed = set[Path]()

    def rows() -> Iterator[tuple[str, float, float, Any]]:
        for entry in found:
            if entry.vector is None:
                failed.add(entry.path)
                print(entry.error, file=sys.stderr)
            else:
                start, stop = round(entry.start_seconds or 0.0, 3), round(entry.stop_seconds or 0.0, 3)
                yield str(entry.path), start, stop, entry.vector

    if output is not None and output.suffix == ".npz":
        import numpy as np

        kept = list(rows())
        paths, starts, ends, vectors = zip(*kept) if kept else ((), (), (), ())
        embedding = np.stack(vectors) if kept else np.empty((0, size), np.float32)
        with writable(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            np.savez(output, path=np.array(paths), start_seconds=starts, end_seconds=ends, embedding=embedding)
        return len(failed)
    with _output(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "start_seconds", "end_seconds", *(f"embedding {index}" for index in range(size))])
        for *place, vector in rows():
            writer.writerow([*place, *(f"{value:.8g}" for value in vector.tolist())])
    return len(failed)
