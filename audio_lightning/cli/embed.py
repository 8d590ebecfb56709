"""``audio-lightning embed``: embeddings of recordings, as CSV or arrays of NumPy."""

import csv
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    writable,
)
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.output import print_next_on_terminal, print_written

if TYPE_CHECKING:
    from audio_lightning.inference.embed import Embedding


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
    path = find_existing(checkpoint)
    from audio_lightning.audio import find_recordings
    from audio_lightning.inference.embed import embed
    from audio_lightning.inference.load import load_classifier

    classifier = load_classifier(path, device, trust=trust)
    files = find_recordings(path.expanduser() for path in recordings)
    found = embed(classifier, files, window_seconds=window, hop_seconds=hop, batch_size=batch_size)
    failed = _write_embeddings(found, classifier.network.embedding_dim, output)
    if output is None:
        print_next_on_terminal("audio-lightning", "embed", checkpoint, *few(recordings), "--output", "embeddings.npz")
    else:
        print_written(output)
        reading = f"import pandas; print(pandas.read_csv({str(output)!r}))"
        if output.suffix == ".npz":
            reading = f"import numpy; print(numpy.load({str(output)!r})['embedding'].shape)"
        print_next_on_terminal("python", "-c", reading)
    if failed:
        print(f"{failed} of {len(files)} recordings could not be read", file=sys.stderr)
    return 1 if failed else 0


def _write_embeddings(found: "Iterator[Embedding]", size: int, output: Path | None) -> int:
    """Rows as they come, or arrays at the end; returns the number of recordings that could not be read."""
    import numpy as np

    failed = set[Path]()
    arrays: list[tuple[str, float, float]] = []
    vectors = []
    as_arrays = output is not None and output.suffix == ".npz"
    with nullcontext(sys.stdout) if as_arrays else output_file(output) as file:
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
        with writable(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            np.savez(output, path=np.array(paths), start_seconds=starts, end_seconds=ends, embedding=embedding)
    return len(failed)
