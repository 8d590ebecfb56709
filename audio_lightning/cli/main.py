"""``audio-lightning <command>``."""

import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from audio_lightning import __version__
from audio_lightning.cli.cache import cache_app
from audio_lightning.cli.catalog import compatibility_command, features_command, models_command
from audio_lightning.cli.check import check_command
from audio_lightning.cli.completion import complete_override
from audio_lightning.cli.dashboard import dashboard_command
from audio_lightning.cli.exit_codes import answering
from audio_lightning.cli.leaderboard import leaderboard_command
from audio_lightning.cli.output import print_next_on_terminal, print_written
from audio_lightning.cli.prediction_table import print_predictions
from audio_lightning.cli.refit import Trust, refit_command
from audio_lightning.cli.results import print_metrics
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.files import nearest_path, to_json
from audio_lightning.core.task import LABEL_SEPARATOR, AudioTask

if TYPE_CHECKING:
    from audio_lightning.inference.embed import Embedding
    from audio_lightning.inference.predict import Prediction

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Typed = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", autocompletion=complete_override, show_default=False)
]
Checkpoint = Annotated[Path, typer.Argument(metavar="RUN_DIR_or_CKPT", help="A run folder, or a checkpoint file.")]
Recordings = Annotated[list[Path], typer.Argument(help="Files, and folders to look through.")]
Window = Annotated[float | None, typer.Option(help="Seconds a window; default: a clip of the training.")]
Hop = Annotated[float | None, typer.Option(help="Seconds from window to window; default: as trained, or a window.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows at once.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


def main() -> None:
    """Entry point of the command."""
    app()


def _print_versions(asked: bool) -> None:
    """Versions of the package and of what its figures depend on, read without an import."""
    if asked:
        from importlib.metadata import version

        print(f"audio-lightning {__version__}")
        print(f"Python {platform.python_version()} on {platform.platform()}")
        print(", ".join(f"{name} {version(name)}" for name in ("torch", "torchaudio", "lightning", "hydra-core")))
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Train audio classifiers and use them."""


@app.command(
    "train",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train_command(overrides: Typed = None) -> None:
    """Train, as `python train.py` does: `audio-lightning train model=resnet feature=mfcc`."""
    from audio_lightning.cli.train import main as train

    raise typer.Exit(train(overrides or []))


@app.command(
    "sweep",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def sweep_command(overrides: Typed = None) -> None:
    """Train every combination and compare them, as `python sweep.py` does."""
    from audio_lightning.cli.sweep import main as sweep

    raise typer.Exit(sweep(overrides or []))


@app.command("predict")
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
) -> None:
    """Predict the class (or classes) of recordings of any rate, channels and length; longer ones window by window.

    Exit code 1 if a recording could not be read; it has a row that says why.
    """

    def run() -> int:
        chosen = output_format or (Format.TABLE if output is None and sys.stdout.isatty() else Format.CSV)
        if chosen is Format.TABLE and output is not None:
            raise ConfigError("--format table is for the screen; leave --output out, or choose csv or json")
        path = _found(checkpoint)
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
            with _output(output) as file:
                failed = write(file, predictions, classifier.task, top_k)
        if output is None:
            typed = {"--window": window, "--hop": hop, "--top-k": top_k}
            options_typed = [str(word) for pair in typed.items() if pair[1] is not None for word in pair]
            options_typed += ["--per-recording"] * per_recording
            where = ("--output", "predictions.csv")
            print_next_on_terminal("audio-lightning", "predict", checkpoint, *_few(recordings), *options_typed, *where)
        else:
            print_written(output)
            reader = "read_csv" if chosen is Format.CSV else "read_json"
            print_next_on_terminal("python", "-c", f"import pandas; print(pandas.{reader}({str(output)!r}))")
        if failed:
            print(f"{failed} of {len(files)} recordings could not be read", file=sys.stderr)
        return 1 if failed else 0

    raise typer.Exit(answering(run))


@app.command("embed")
def embed_command(
    checkpoint: Checkpoint,
    recordings: Recordings,
    output: Annotated[Path | None, typer.Option(help="FILE.npz or FILE.csv; default: CSV on the screen.")] = None,
    window: Window = None,
    hop: Hop = None,
    batch_size: BatchSize = 32,
    device: Device = "cpu",
    trust: Trust = None,
) -> None:
    """Write the embeddings of recordings, window by window: the input of the network's head.

    Exit code 1 if a recording could not be read; it is named on the error output.
    """

    def run() -> int:
        path = _found(checkpoint)
        from audio_lightning.audio import find_recordings
        from audio_lightning.inference.embed import embed
        from audio_lightning.inference.load import load_classifier

        classifier = load_classifier(path, device, trust=trust)
        files = find_recordings(path.expanduser() for path in recordings)
        found = embed(classifier, files, window_seconds=window, hop_seconds=hop, batch_size=batch_size)
        failed = _write_embeddings(found, classifier.network.embedding_dim, output)
        if output is None:
            print_next_on_terminal(
                "audio-lightning", "embed", checkpoint, *_few(recordings), "--output", "embeddings.npz"
            )
        else:
            print_written(output)
            reading = f"import pandas; print(pandas.read_csv({str(output)!r}))"
            if output.suffix == ".npz":
                reading = f"import numpy; print(numpy.load({str(output)!r})['embedding'].shape)"
            print_next_on_terminal("python", "-c", reading)
        if failed:
            print(f"{failed} of {len(files)} recordings could not be read", file=sys.stderr)
        return 1 if failed else 0

    raise typer.Exit(answering(run))


@app.command("evaluate")
def evaluate_command(
    checkpoint: Checkpoint,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data=NAME] [data.KEY=VALUE]...", help="Other data, or the run's own changed."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json and predictions.csv.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    trust: Trust = None,
) -> None:
    """Test a classifier again, on the test clips of its run or on other labelled recordings.

    Classes of other recordings are matched by name. All of them are tested unless they have a test part of their own,
    or `data.split` and the like say which. Those that were trained on are counted.
    """

    def run() -> int:
        path = _found(checkpoint)
        from audio_lightning.config import compose, quote_paths, user_extensions

        chosen = [line for line in overrides or [] if line.startswith(("data=", "conf_dir=", "trust="))]
        with user_extensions(chosen):  # a choice that does not exist is said before torch is imported
            compose(quote_paths(chosen))
        from audio_lightning.inference.evaluate import evaluate

        with _writable(output):
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
        found = evaluate(path, quote_paths(overrides or []), output=output, trust=trust)
        if as_json:
            print(to_json(found.metrics, indent=2))
        else:
            print_metrics(found.metrics, "test")
        if found.unknown_classes:
            print(
                f"left out, because the classifier does not know them: {', '.join(found.unknown_classes)}",
                file=sys.stderr,
            )
        if not as_json:
            if output is not None:
                print_written(*(output / name for name in ("metrics.json", "predictions.csv", "per_class.csv")))
            print_next_on_terminal("audio-lightning", "predict", checkpoint, "FILE.wav")
        return 0

    raise typer.Exit(answering(run))


app.command("check")(check_command)
app.command("models")(models_command)
app.command("features")(features_command)
app.command("compatibility")(compatibility_command)
app.command("grid", hidden=True, deprecated=True)(compatibility_command)  # its name in 0.1
app.command("leaderboard")(leaderboard_command)
app.command("dashboard")(dashboard_command)
app.command("refit")(refit_command)
app.add_typer(cache_app, name="cache")


def _found(checkpoint: Path) -> Path:
    """The checkpoint, found before torch is imported, which takes seconds, and missed before Hydra is."""
    path = checkpoint.expanduser()
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder{nearest_path(path)}")
    from audio_lightning.run_folder import find_checkpoint

    return find_checkpoint(path)


def _few(recordings: list[Path]) -> list[Path]:
    """Recordings for a command that is shown: those of a shell's pattern are named by their folder."""
    return recordings if len(recordings) <= 3 else [recordings[0].parent]


@contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    with _writable(path):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") if path else nullcontext(sys.stdout) as file:
            yield file


@contextmanager
def _writable(path: Path | None) -> Iterator[None]:
    """Say in a line that nothing can be written where the user wants it; a full disk is said by all commands alike."""
    try:
        yield
    except OSError as error:
        if path is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from error


def _write_csv(file: IO[str], predictions: "Iterator[Prediction]", task: AudioTask, top_k: int | None) -> int:
    """Rows as they come; returns the number of recordings that could not be read."""
    import csv

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


def _write_embeddings(found: "Iterator[Embedding]", size: int, output: Path | None) -> int:
    """Rows as they come, or arrays at the end; returns the number of recordings that could not be read."""
    import csv

    import numpy as np

    failed = set[Path]()
    arrays: list[tuple[str, float, float]] = []
    vectors = []
    as_arrays = output is not None and output.suffix == ".npz"
    with nullcontext(sys.stdout) if as_arrays else _output(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        if not as_arrays:
            writer.writerow(["path", "start_seconds", "end_seconds", *(f"embedding {index}" for index in range(size))])
        for entry in found:
            if entry.vector is None:
                failed.add(entry.path)
                print(entry.error, file=sys.stderr)
                continue
            place = (str(entry.path), round(entry.start_seconds or 0.0, 3), round(entry.stop_seconds or 0.0, 3))
            if as_arrays:
                arrays.append(place)
                vectors.append(entry.vector)
            else:
                writer.writerow([*place, *(f"{value:.8g}" for value in entry.vector.tolist())])
    if as_arrays:
        assert output is not None
        paths, starts, ends = zip(*arrays) if arrays else ((), (), ())
        embedding = np.stack(vectors) if vectors else np.empty((0, size), np.float32)
        with _writable(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            np.savez(output, path=np.array(paths), start_seconds=starts, end_seconds=ends, embedding=embedding)
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
