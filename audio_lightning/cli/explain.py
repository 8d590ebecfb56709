"""``audio-lightning explain``: relevance of time and frequency for the prediction of a clip."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Device, Trust, find_existing, writable
from audio_lightning.cli.output import print_written
from audio_lightning.cli.targets import protect
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.core.text_tables import Column, print_table, print_text

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier
    from audio_lightning.inference.explain import Explanation
    from audio_lightning.inference.nearest import Neighbour

WIDTH = 100
"""Characters per line if the output is not a terminal."""


class MethodName(StrEnum):
    """Method that computes the relevance."""

    GRADCAM = "gradcam"
    OCCLUSION = "occlusion"


@exits
def explain_command(
    checkpoint: Checkpoint,
    recording: Annotated[
        Path | None,
        typer.Argument(help="Recording; of a long one, the clip with the highest probability is explained."),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Class to explain; default: the most probable one.")
    ] = None,
    method: Annotated[
        MethodName | None,
        typer.Option(help="Method; default: gradcam for convolutional networks on spectrograms, else occlusion."),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Number of nearest training clips; 0: none.")] = 5,
    output: Annotated[
        Path | None, typer.Option(help="Folder for figure, sounds and JSON; default: explanation_RECORDING.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Write the page of a fit again, with the relevance of its mistakes.")
    ] = False,
    device: Device = "cpu",
    trust: Trust = None,
) -> None:
    """Explain a prediction: a relevance map, the most relevant tenth as a sound, and the clip without it.

    The marked tenth of the time-frequency plane has the highest relevance for the class. The probability of the class
    before and after its removal measures how much the prediction depends on it. The nearest training clips by embedding
    are listed if the data of the run still exists.
    """
    if page:
        if recording is not None:
            raise ConfigError(f"--page: explains the mistakes of a fit, not a recording; leave {recording} out")
        _write_page(checkpoint, trust)
        return
    if recording is None:
        raise ConfigError("RECORDING: missing; name a recording to explain, or give --page for the mistakes of a fit")
    path = find_existing(checkpoint)
    from audio_lightning.inference.explain import FILES, explain_recording, write_explanation
    from audio_lightning.inference.load import load_classifier

    recording = recording.expanduser()
    folder = output or Path(f"explanation_{recording.stem}")
    protect("--output", (folder / name for name in FILES), [path, recording], recordings=False)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier(path, device, trust=trust)
    found = explain_recording(
        classifier, recording, class_name=class_name, method=None if method is None else method.value
    )
    nearest, reason = _nearest(classifier, found, neighbours)
    _print(found, nearest, reason)
    with writable(folder):
        print_written(*write_explanation(folder, found, nearest))


def _nearest(classifier: "Classifier", found: "Explanation", number: int) -> "tuple[list[Neighbour], str | None]":
    """Return the nearest training clips, or the reason why there are none."""
    if not number:
        return [], None
    import torch

    from audio_lightning.inference.nearest import nearest_training_clips

    try:
        return nearest_training_clips(classifier, torch.from_numpy(found.samples), number), None
    except UserError as error:
        return [], str(error)


def _print(found: "Explanation", nearest: "list[Neighbour]", reason: str | None) -> None:
    print_text(
        f"{found.class_name}: probability {found.probability:.3f} from {found.start_seconds:.2f} to "
        f"{found.stop_seconds:.2f} s; without the marked tenth {found.probability_without:.3f}, of the marked tenth "
        f"alone {found.probability_of_marked:.3f} ({found.method})",
        piped_width=WIDTH,
    )
    if reason is not None:
        print_text(f"no nearest training clips: {reason}", piped_width=WIDTH)
    if nearest:
        columns = [
            Column("nearest training clip", whole=True),
            Column("from second", "right", whole=True),
            Column("label"),
            Column("cosine\nsimilarity", "right", whole=True),
        ]
        rows = [
            [clip.path, f"{clip.start_seconds:.2f}", clip.label or "none", f"{clip.similarity:.3f}"] for clip in nearest
        ]
        print_table(columns, rows, piped_width=WIDTH)


def _write_page(folder: Path, trust: list[str] | None) -> None:
    from audio_lightning.report.fit_page import write_fit_page

    print_written(write_fit_page(folder.expanduser(), relevance=True, trust=trust))
