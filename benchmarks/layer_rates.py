"""Arithmetic rate of the convolutions of a network: `python benchmarks/layer_rates.py [--publish]`.

For each choice of ``model``: GFLOP/s of its convolutions in training (forward and backward), beside the rate of a
product of two square matrices on the same thread. A multiply-accumulate counts as two operations. Training has three
times as many as the forward pass, or twice where nothing needs the gradient of the input. Layers of equal shape are
measured once. One thread unless ``OMP_NUM_THREADS`` says otherwise; the median over the rounds.

``--publish`` writes benchmarks/results/layer_rates.csv.
"""

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from publishing import processor, publish
from torch import Tensor, nn

from audio_lightning.classifier.factory import build_front_end, build_network
from audio_lightning.config import as_plain, compose
from audio_lightning.core.task import AudioTask

MODELS = ("panns", "panns_fast", "googlenet", "bcresnet")
SIDE = 2048


@dataclass(frozen=True)
class Shape:
    """A convolution and the shape of its input."""

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    size: tuple[int, int]
    first: bool

    @property
    def kind(self) -> str:
        """Row of the table that it belongs to."""
        if self.groups > 1:
            return f"depthwise {self.kernel[0]}x{self.kernel[1]}"
        if self.first:
            return "first layer"
        return f"{self.kernel[0]}x{self.kernel[1]}, {self.inputs} to {self.outputs} channels"


def shapes(model: str, clip: tuple[int, int]) -> Counter[Shape]:
    """Convolutions of a network that gets log-mel spectrograms with ``clip`` bins and frames, and their numbers."""
    bins, frames = clip
    config = as_plain(compose(["data=demo", f"model={model}", "feature=logmel", f"feature.n_mels={bins}"]))
    samples = round(config["feature"]["hop_seconds"] * (frames - 1) * config["data"]["sample_rate"])
    task = AudioTask(("a", "b"), config["data"]["sample_rate"], samples, "zero")
    found: Counter[Shape] = Counter()

    def note(layer: nn.Module, given: tuple[Tensor]) -> None:
        assert isinstance(layer, nn.Conv2d)
        pairs = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        rest = [tuple(int(value) for value in pair) for pair in pairs]
        size = tuple(given[0].shape[2:])
        found[Shape(layer.in_channels, layer.out_channels, *rest, layer.groups, size, not found)] += 1  # type: ignore[arg-type]

    front_end = build_front_end(config, task)
    with torch.device("meta"):
        network = build_network(config, front_end.output_shape, task).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(note)
        network(torch.empty(1, *front_end.output_shape.dims))
    return found


def measure(shape: Shape, clips: int, rounds: int) -> tuple[float, float]:
    """Billions of operations of a training step of a convolution, and its seconds."""
    layer = nn.Conv2d(
        shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.padding, shape.dilation, shape.groups, bias=False
    )
    x = torch.randn(clips, shape.inputs, *shape.size, requires_grad=not shape.first)
    gradient = torch.randn_like(layer(x))
    macs = gradient.numel() * layer.weight[0].numel()
    seconds = median_seconds(lambda: layer(x).backward(gradient), rounds)
    return 2e-9 * macs * (2 if shape.first else 3), seconds


def median_seconds(action: Callable[[], object], rounds: int) -> float:
    action()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def table(models: Sequence[str], clip: tuple[int, int], clips: int, rounds: int) -> list[dict[str, str]]:
    square = torch.randn(SIDE, SIDE)
    ceiling = 2e-9 * SIDE**3 / median_seconds(lambda: square @ square, rounds)
    common = {
        "data": f"noise, {clip[0]} bins, {clip[1]} frames, batches of {clips}",
        "split": "none",
        "seed": "none",
        "hardware": f"one thread of {processor()}",
        "command": "`python benchmarks/layer_rates.py`",
    }
    rows = []

    def add(network: str, layers: str, number: int, operations: float, seconds: float) -> None:
        rate = operations / seconds
        figures = [str(number), f"{1000 * seconds:.1f}", f"{rate:.0f}", f"{rate / ceiling:.0%}"]
        names = ("network", "layers", "number", "milliseconds", "GFLOP/s", "of the matrix product")
        rows.append(dict(zip(names, [network, layers, *figures], strict=True)) | common)
        print(" | ".join(rows[-1][name] for name in names), flush=True)

    add("", f"product of two matrices, {SIDE} x {SIDE}", 1, 2e-9 * SIDE**3, 2e-9 * SIDE**3 / ceiling)
    for model in models:
        found = shapes(model, clip)
        measured = {shape: measure(shape, clips, rounds) for shape in found}
        kinds = dict.fromkeys(shape.kind for shape in found) if "panns" in model else {}
        chosen = {kind: [shape for shape in found if shape.kind == kind] for kind in kinds}
        dense = [shape for shape in found if shape.groups == 1]
        chosen |= {"all dense convolutions": dense, "all depthwise convolutions": [*found.keys() - {*dense}]}
        for kind, members in chosen.items():
            if members:
                sums = [sum(found[one] * measured[one][place] for one in members) for place in range(2)]
                add(f"`{model}`", kind, sum(found[one] for one in members), *sums)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--bins", type=int, default=64)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--clips", type=int, default=16, help="number of clips in a batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--publish", action="store_true", help="write the table of the docs")
    arguments = parser.parse_args()
    rows = table(arguments.models, (arguments.bins, arguments.frames), arguments.clips, arguments.rounds)
    if arguments.publish:
        publish("layer_rates", rows)


if __name__ == "__main__":
    main()
