"""Export of every front end and model to ONNX: `python benchmarks/exports.py [CHOICE ...]`.

Every choice of `feature` and `model` is exported with random weights, and compared with torch in ONNX Runtime.

`python benchmarks/exports.py --table` writes the table of docs/how-to/export.md. `make test-all` checks its rows.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from audio_lightning.classifier.classifier import AudioClassifier  # noqa: E402
from audio_lightning.config import as_plain, compose, resolve  # noqa: E402
from audio_lightning.config.location import choices  # noqa: E402
from audio_lightning.core.errors import ConfigError  # noqa: E402
from audio_lightning.core.task import AudioTask  # noqa: E402
from audio_lightning.inference.export.export import describe  # noqa: E402
from audio_lightning.inference.export.graph import Probabilities, graphs_of  # noqa: E402
from audio_lightning.inference.export.onnx_export import to_onnx  # noqa: E402
from audio_lightning.inference.export.parity import (  # noqa: E402
    MOST_DIFFERENCE,
    agrees_at_other_lengths,
    compare,
)
from audio_lightning.inference.onnx_model import OnnxModel  # noqa: E402
from audio_lightning.models.base import AudioModel  # noqa: E402

PAGE = PROJECT / "docs/how-to/export.md"
BEGIN, END = "<!-- begin: benchmarks/exports.py --table -->", "<!-- end -->"

RATE = 16_000
"""Sample rate in Hz, and number of samples of a clip."""

PACKAGES = {"timm": "timm"}
"""By model, the package that it needs and that is not always installed."""

MODELS = {"embedding": "linear", "spectrogram_flat": "conv1d", "waveform": "conv1d"}
"""Model for a feature; `cnn` for all others."""

FEATURES = dict.fromkeys(("centroid", "dnn", "knn", "linear", "probe"), "embedding")
"""Feature for a model; `waveform` or `logmel` for all others, according to the input of the model."""

SMALLER = {
    "ast": ["model.embed_dim=24", "model.num_layers=2", "model.num_heads=2"],
    "wav2vec2": ["model.embed_dim=32", "model.num_layers=2", "model.num_heads=2", "model.channels=16"],
    "vgg": ["model.depth=11"],
}
"""Options that shrink a network, without changes of its operators."""

ANY, FIXED = "any", "fixed"
"""Clip lengths that a file accepts."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        choice: `feature=NAME` or `model=NAME`.
        entry: `yes` for a feature; `any` or `fixed` for a model; `no` if it cannot be exported.
        reason: the error message of a choice that cannot be exported; else empty.
    """

    choice: str
    entry: str
    reason: str = ""

    def __str__(self) -> str:
        return f"| `{self.choice}` | {self.entry} | {self.reason.replace('|', chr(92) + '|')} |"


def every_choice() -> list[str]:
    """Return every choice of `feature` and `model`."""
    return [f"{group}={name}" for group in ("feature", "model") for name in choices(group)]


def feature_and_model(choice: str) -> tuple[str, str]:
    """Return the feature and the model with which a choice is exported."""
    group, _, name = choice.partition("=")
    if group == "feature":
        return name, MODELS.get(name, "cnn")
    if name in FEATURES:
        return FEATURES[name], name
    node: Any = as_plain(compose(["data=demo", f"model={name}"]))["model"]
    kind = resolve(node["_target_"], AudioModel, where="model").input_kind
    return ("waveform" if kind == "waveform" else "logmel"), name


def row_of(choice: str) -> Row:
    """Export a choice, and return its row.

    Raises:
        RuntimeError: the exported classifier differs from the original.
    """
    feature, model = feature_and_model(choice)
    try:
        length = length_of(feature, model)
    except ConfigError as error:
        return Row(choice, "no", str(error))
    return Row(choice, "yes" if choice.startswith("feature") else length)


def length_of(feature: str, model: str) -> str:
    """Return the clip lengths that the first graph accepts that agrees with torch.

    Raises:
        ConfigError: the classifier cannot be exported.
        RuntimeError: the exported classifier differs from the original.
    """
    reference = classifier(feature, model)

    def expected(clips: np.ndarray) -> np.ndarray:
        return reference.probabilities(torch.from_numpy(clips)).numpy()

    probabilities = Probabilities(classifier(feature, model))
    for graph in graphs_of(probabilities):
        try:
            content = to_onnx(graph, probabilities.front_ends()).content(describe(reference))
        except ConfigError:
            if not graph.any_length:
                raise
            continue
        exported = OnnxModel(content, "model.onnx", threads=1).probabilities
        if graph.any_length and not agrees_at_other_lengths(expected, exported, clips_of(2)):
            continue
        difference = compare(expected, exported, clips_of(8)).max_difference
        if not difference <= MOST_DIFFERENCE:
            raise RuntimeError(f"feature={feature} model={model}: probabilities differ by {difference:.2g}")
        return ANY if graph.any_length else FIXED
    raise AssertionError("the last graph is for clips of fixed length")


def classifier(feature: str, model: str) -> AudioClassifier:
    """Build a classifier of three classes with random weights, which are the same in each call."""
    overrides = ["data=demo", f"data.sample_rate={RATE}", "data.clip_seconds=1", f"model={model}", f"feature={feature}"]
    if feature == "embedding":
        overrides.append("feature.pretrained=false")  # weights that may be missing on this machine
    if model == "published":
        overrides.append("model.pretrained=null")
    config = as_plain(compose([*overrides, *SMALLER.get(model, [])]))
    torch.manual_seed(0)
    made = AudioClassifier(config, AudioTask(("a", "b", "c"), RATE, RATE).to_dict(), [4, 4, 4], 12)
    clips = torch.from_numpy(clips_of(8))
    made.front_end.fit([clips])
    if made.network.memorizes:
        made.network.memorize(made.front_end(clips), torch.arange(8) % 3)
    return made.eval()


def clips_of(count: int) -> np.ndarray:
    """Return tones in noise, float32 ``[count, samples]``."""
    time = np.arange(RATE) / RATE
    tones = np.sin(2 * np.pi * np.linspace(200, 3000, count)[:, None] * time)
    return (0.2 * tones + 0.05 * np.random.RandomState(0).randn(count, RATE)).astype(np.float32)


def rows(named: Iterable[str]) -> Iterator[Row]:
    """Yield the row of each choice whose package is installed."""
    for choice in named:
        package = PACKAGES.get(choice.partition("=")[2])
        if package is not None and find_spec(package) is None:
            raise SystemExit(f"{choice}: {package} is not installed; pip install 'audio-lightning[full]'")
        yield row_of(choice)


def table(found: Iterable[Row]) -> list[str]:
    """Return the lines of the table, in Markdown."""
    return ["| choice | exported, length of clips | reason |", "|---|---|---|", *map(str, found)]


def with_table(page: str, lines: Iterable[str]) -> str:
    """Return a page with these lines between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + "\n".join([BEGIN, "", *lines, "", END]) + after


def main() -> None:
    """Print the rows, and write them into the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choices", nargs="*", help="such as model=cnn; default: all")
    parser.add_argument("--table", action="store_true", help=f"write the table of {PAGE.relative_to(PROJECT)}")
    arguments = parser.parse_args()
    if arguments.table and arguments.choices:
        parser.error("--table: writes the rows of all choices; leave the choices out")
    found = []
    for row in rows(arguments.choices or every_choice()):
        print(row, flush=True)
        found.append(row)
    if arguments.table:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
