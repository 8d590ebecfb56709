"""``audio-lightning predict | embed | evaluate``: apply a trained classifier to recordings."""

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
from audio_lightning.cli.output import print_next_on_terminal, print_written, trust_options
from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.cli.submission import TableOptions, read_request, summarize, table_among, write_answers
from audio_lightning.cli.targets import named_files, protect
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import check_free, nearest_path, to_json
from audio_lightning.core.task import LABEL_SEPARATOR, AudioTask
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.training.console import print_metrics

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.embed import Embedding
    from audio_lightning.inference.onnx_model import OnnxModel
    from audio_lightning.inference.predict import Prediction

Checkpoint = Annotated[
    Path,
    typer.Argument(metavar="RUN_DIR_or_CKPT", help="Folder of a run or a fit, checkpoint file, or hf://OWNER/NAME."),
]
Recordings = Annotated[list[Path], typer.Argument(help="Files, and folders that are searched for recordings.")]
CheckpointOrOnnx = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_DIR_or_CKPT", help="Folder of a run or a fit, checkpoint file, .onnx file, or hf://OWNER/NAME."
    ),
]
RecordingsOrTable = Annotated[
    list[Path], typer.Argument(help="Files, and folders that are searched; or one table of recordings.")
]
Window = Annotated[float | None, typer.Option(help="Window length in seconds; default: a clip of the training.")]
Hop = Annotated[float | None, typer.Option(help="Seconds between window starts; default: see above.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows per batch.")]
Device = Annotated[str, typer.Option(help="Torch device: cpu, cuda, cuda:1, mps.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="Module of your own whose classes a checkpoint may name; may be repeated."),
]

EVALUATION_FILES = ("metrics.json", "predictions.csv", "per_class.csv")
"""Files that ``evaluate --output`` writes."""


class Format(StrEnum):
    """Output format of predictions."""

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
        bool, typer.Option("--per-recording", help="One row per recording: the mean of its windows.")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Write only the K most probable classes, beside the prediction.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P|CLASS=P",
            help="Minimum probability, else the prediction is `unknown`; may be repeated for classes.",
        ),
    ] = None,
    min_precision: Annotated[
        float | None, typer.Option(help="Precision on the validation clips that determines the threshold.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Probabilities before calibration.")] = False,
    typicality: Annotated[
        bool,
        typer.Option("--typicality", help="Add the share of validation clips that are less typical; 0: unlike all."),
    ] = False,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", help="Output format; default: table on a terminal, else CSV.", show_default=False),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write; default: stdout.")] = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the recordings of a table; default: the table's folder.")
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sample submission with the rows and columns for a table.")
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of a table that names the recordings.")
    ] = None,
) -> int:
    """Predict the class (or classes) of recordings of any sample rate, length and number of channels.

    Long recordings are predicted window by window. The default hop is that of the training; without windows in the
    training, or with --window, windows do not overlap.

    Given a table of recordings (test.csv), predict each row and write a submission file: the columns that identify
    rows, and `label`; or, if the table has a column for each class, probabilities. A recording gets one prediction.

    The exit code is 1 if a recording cannot be read; its row has the reason, or empty cells in a submission.
    """
    options: dict[str, Any] = {"window_seconds": window, "hop_seconds": hop, "batch_size": batch_size}
    of_table = TableOptions(root, submission, path_column)
    _protect_inputs(output, checkpoint, *recordings, *([submission] if submission else []))
    if (table := table_among(recordings, of_table)) is not None:
        if threshold or min_precision is not None or raw or typicality:
            raise ConfigError(
                "--threshold, --min-precision, --raw, --typicality: not supported for a table; name the recordings"
            )
        if output_format not in (None, Format.CSV):
            raise ConfigError(f"--format {output_format}: submissions for a table are CSV; leave the option out")
        return _answer(checkpoint, table, of_table, output, top_k, device, trust, options)
    chosen = output_format or (Format.TABLE if output is None and sys.stdout.isatty() else Format.CSV)
    if chosen is Format.TABLE and output is not None:
        raise ConfigError("--format table: only for the screen; leave --output out, or choose csv or json")
    classifier, files = _predictor(checkpoint, device, trust), _found(recordings)
    from audio_lightning.inference.predict import check_outputs, predict

    check_outputs(classifier, raw=raw, typicality=typicality)
    options |= {"raw": raw, "typicality": typicality}
    if threshold or min_precision is not None:
        from audio_lightning.inference.rejection import choose_thresholds

        options["thresholds"], note = choose_thresholds(classifier, threshold, min_precision, raw=raw)
        if note:
            print(note, file=sys.stderr)
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
        words += trust_options(trust)
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
    """Predict the recordings of a table, and write a submission."""
    from audio_lightning.inference.submission import predicted_rows

    classifier = _predictor(checkpoint, device, trust)
    request = read_request(table, classifier, of_table)
    rows = predicted_rows(request, classifier, top_k=top_k, **options)  # checks the options before a file is opened
    with _output(output) as file:
        failed = write_answers(file, request, rows)
    for error in failed:
        print(error, file=sys.stderr)
    print(summarize(table, request, classifier.task.classes), file=sys.stderr)
    if output is not None:
        print_written(output)
    return print_failed(len(failed), len(set(request.recordings)))


@exits
def embed_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    output: Annotated[Path | None, typer.Option(help="FILE.npz or FILE.csv; default: CSV on stdout.")] = None,
    window: Window = None,
    hop: Hop = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
) -> int:
    """Compute the embeddings of recordings, window by window: the input of the network's head.

    The default hop is that of the training; without windows in the training, or with --window, windows do not overlap.

    The exit code is 1 if a recording cannot be read; stderr names it.
    """
    _protect_inputs(output, checkpoint, *recordings)
    classifier, files = _classifier(checkpoint, device, trust), _found(recordings)
    from audio_lightning.inference.embed import embed

    found = embed(classifier, files, window_seconds=window, hop_seconds=hop, batch_size=batch_size)
    failed = _write_embeddings(found, classifier.embedding_dim, output)
    if output is None:
        words = ("--output", "embeddings.npz", *trust_options(trust))
        print_next_on_terminal("audio-lightning", "embed", checkpoint, *_few(recordings), *words)
    elif output.suffix == ".npz":
        _print_written(output, f"import numpy; print(numpy.load({str(output)!r})['embedding'].shape)")
    else:
        _print_written(output, f"import pandas; print(pandas.read_csv({str(output)!r}))")
    return print_failed(failed, len(files))


@exits
def evaluate_command(
    checkpoint: CheckpointOrOnnx,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data=NAME] [data.KEY=VALUE]...", help="Other data, or changes to the run's data."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json and predictions.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    trust: Trust = None,
    config_dir: ConfigDir = None,
) -> None:
    """Evaluate a classifier on the test clips of its run, or on other labelled recordings.

    Classes of other data are matched by name. Other data is tested as a whole, unless it has a test split, or keys such
    as `data.split` select recordings. Recordings that were part of the training are counted. A fit has no test split:
    on its own recordings, its cross-validation metrics are printed. An ONNX file needs `data=NAME`.
    """
    from audio_lightning.inference.onnx_model import is_onnx

    path = checkpoint.expanduser() if is_onnx(checkpoint) else find_existing(checkpoint)
    from audio_lightning.config import quote_paths
    from audio_lightning.config.override_checks import check_choices

    check_choices(line for line in overrides or [] if line.startswith("data="))  # before torch is imported
    if output is not None:
        check_free("--output", output)
        results = (output / name for name in EVALUATION_FILES)
        protect("--output", results, named_files(overrides or []))
    from audio_lightning.fit.evaluation import evaluate

    with writable(output):
        if output is not None and not is_onnx(path):
            output.mkdir(parents=True, exist_ok=True)
    found = evaluate(path, quote_paths(overrides or []), output=output, trust=trust, config_dir=config_dir)
    if as_json:
        print(to_json(found.metrics, indent=2))
    else:
        print_metrics(found.metrics, "test")
    if found.unknown_classes:
        unknown = ", ".join(found.unknown_classes)
        print(f"classes left out, as the classifier does not have them: {unknown}", file=sys.stderr)
    if not as_json:
        if output is not None:
            print_written(*(output / name for name in EVALUATION_FILES))
        print_next_on_terminal("audio-lightning", "predict", checkpoint, "FILE.wav", *trust_options(trust))


def find_existing(checkpoint: Path) -> Path:
    """Find the checkpoint file of a run, a fit or a path, before the imports of torch and Hydra, which take seconds.

    A checkpoint of the Hugging Face hub is downloaded.

    Raises:
        CheckpointError: there is none.
        ConfigError: see :func:`audio_lightning.inference.hub.pull`.
    """
    path = checkpoint.expanduser()
    if str(path).startswith("hf:/"):
        from audio_lightning.inference.hub import pull

        return pull(path)
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: no such checkpoint or run folder{nearest_path(path)}")
    from audio_lightning.run_folder import find_checkpoint

    return find_checkpoint(path)


def _predictor(checkpoint: Path, device: str, trust: list[str] | None) -> "Classifier | OnnxModel":
    """Load a checkpoint, or an ONNX file, for which torch is not imported."""
    from audio_lightning.inference.onnx_model import is_onnx, load_onnx

    if is_onnx(checkpoint):
        return load_onnx(checkpoint, device=device, trust=trust)
    return _classifier(checkpoint, device, trust)


def _classifier(checkpoint: Path, device: str, trust: list[str] | None) -> "Classifier":
    path = find_existing(checkpoint)
    from audio_lightning.inference.load import load_classifier

    return load_classifier(path, device, trust=trust)


def _found(recordings: Iterable[Path]) -> list[Path]:
    from audio_lightning.audio import find_recordings

    return find_recordings(path.expanduser() for path in recordings)


def _few(recordings: list[Path]) -> list[Path]:
    """Shorten the recordings for a printed command: more than three, as from a shell pattern, become their folder."""
    return recordings if len(recordings) <= 3 else [recordings[0].parent]


def _print_written(output: Path, reading: str) -> None:
    print_written(output)
    print_next_on_terminal("python", "-c", reading)


def _protect_inputs(output: Path | None, *inputs: Path) -> None:
    """Check that the file to write is no input; recordings below folders are found by their content."""
    if output is not None:
        protect("--output", [output], (path.expanduser() for path in inputs))


def print_failed(failed: int, total: int) -> int:
    """Print how many recordings could not be read, if any, and return the exit code."""
    if failed:
        print(f"{failed} of {total} recordings could not be read", file=sys.stderr)
    return min(failed, 1)


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Open the file to write; stdout for None."""
    with writable(path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") if path else nullcontext(sys.stdout) as file:
            yield file


@contextmanager
def writable(path: Path | None) -> Iterator[None]:
    """Convert an error of writing to ``path`` into a ConfigError; a full disk is left to :func:`exit_code_of`."""
    try:
        yield
    except OSError as error:
        if path is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(
            f"--output {path}: cannot be written ({error.strerror or error}); choose another file"
        ) from error


def _write_csv(
    file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None, *, typicality: bool
) -> int:
    """Write rows as they are predicted; return the number of recordings that could not be read."""
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"probability {name}" for name in task.classes]
    if top_k:
        ranks = range(1, min(top_k, task.num_classes) + 1)
        columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
    columns = ["predicted", *columns, *["typicality"] * typicality]
    writer.writerow(["path", "start_seconds", "end_seconds", *columns, "error"])
    failed = set[Path]()
    for found in predictions:
        if found.probabilities is None or found.labels is None:
            failed.add(found.path)
            writer.writerow([as_utf8(found.path), "", "", *[""] * len(columns), found.error])
            continue
        values = [f"{share:.8f}" for share in found.probabilities.tolist()]
        if top_k:
            values = [value for name, share in _ranked(found, task, top_k) for value in (name, f"{share:.8f}")]
        values.insert(0, LABEL_SEPARATOR.join(found.labels))
        if typicality:
            values.append(f"{found.typicality:.4f}")
        writer.writerow([as_utf8(found.path), f"{found.start_seconds:.3f}", f"{found.stop_seconds:.3f}", *values, ""])
    return len(failed)


def _write_json(
    file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None, *, typicality: bool
) -> int:
    """Write one JSON array, element by element; return the number of recordings that could not be read."""
    failed, separator = set[Path](), "[\n"
    for found in predictions:
        entry: dict[str, object] = {"path": as_utf8(found.path)}
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
    """Write CSV rows as they are computed, or NPZ arrays at the end; return the number of unreadable recordings."""
    failed = set[Path]()

    def rows() -> Iterator[tuple[str, float, float, Any]]:
        for entry in found:
            if entry.vector is None:
                failed.add(entry.path)
                print(entry.error, file=sys.stderr)
            else:
                start, stop = round(entry.start_seconds or 0.0, 3), round(entry.stop_seconds or 0.0, 3)
                yield as_utf8(entry.path), start, stop, entry.vector

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
