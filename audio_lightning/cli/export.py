"""``audio-lightning export``: export of a trained classifier to other runtimes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audio_lightning.cli.completion import ConfigDir
from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Trust, find_existing
from audio_lightning.cli.output import print_next_on_terminal, print_written

if TYPE_CHECKING:
    from audio_lightning.inference.export.export import Exported

RUNTIMES = {".onnx": "onnxruntime", ".pt2": "torch.export", ".pte": "ExecuTorch", ".tflite": "LiteRT"}
"""Name of the runtime of each file suffix."""


@exits
def export_command(
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="File to write: .onnx, .pt2, .pte or .tflite.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data.KEY=VALUE]...", help="New paths of the run's data.", show_default=False),
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", metavar="onnx|torch-export|executorch|litert", help="Format of the file.")
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize networks to int8, calibrated on training clips.")
    ] = False,
    clips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Recordings for the comparison; default: the run's test clips.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set version.", show_default=False)] = None,
    trust: Trust = None,
    config_dir: ConfigDir = None,
) -> None:
    """Export a classifier as one graph from waveforms to calibrated probabilities, with front end and ensemble.

    The graph is first compared with the checkpoint on real clips, in the target runtime: a float model whose
    probabilities differ by more than 1e-4 is not written. `audio-lightning predict MODEL.onnx` runs it without torch.
    """
    path = find_existing(checkpoint)
    from audio_lightning.config import quote_paths
    from audio_lightning.inference.export.export import export

    found = export(
        path,
        output,
        quote_paths(overrides or []),
        output_format=output_format,
        int8=int8,
        clips=clips,
        opset=opset,
        trust=trust,
        config_dir=config_dir,
    )
    _print_found(found)
    print_written(found.path)
    if output_format == "onnx":
        print_next_on_terminal("audio-lightning", "predict", output, "FILE.wav")


def _print_found(found: "Exported") -> None:
    parity = found.parity
    print(f"largest difference of a probability: {parity.max_difference:.1e} on {parity.clips} clips")
    runtime = RUNTIMES[found.path.suffix.lower()]
    times = f"torch {parity.torch_milliseconds:.2f} ms, {runtime} {parity.runtime_milliseconds:.2f} ms"
    if (int8 := found.int8) is not None:
        times += f", int8 {int8['parity']['runtime_milliseconds']:.2f} ms"
        print(f"int8: largest difference {int8['parity']['max_difference']:.2g}, ", end="")
        print(f"same most probable class for {100 * int8['agreement']:.1f} % of {parity.clips} clips")
        if "metric" in int8:
            print(f"{int8['metric']}: float {int8['float']:.4f}, int8 {int8['int8']:.4f}")
        else:
            print("int8: accuracy unknown, as the recordings of --clips have no labels", file=sys.stderr)
    print(f"one clip: {times}")
    length = "any length" if found.any_length else f"{found.metadata.task.num_samples} samples"
    print(f"clips of {length}, {found.megabytes:.2f} MB")
