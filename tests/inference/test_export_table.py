"""Every front end and model is exported, or rejected in one line; docs/how-to/export.md has the results."""

import re
from pathlib import Path
from typing import Any

import choices
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import choices as names
from audio_lightning.config import compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.inference.export.export import describe
from audio_lightning.inference.export.graph import Probabilities, graphs_of
from audio_lightning.inference.export.onnx_export import to_onnx
from audio_lightning.inference.export.parity import agrees_at_other_lengths, compare
from audio_lightning.inference.onnx_model import OnnxModel

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)

RATE = 16_000

TABLE = dict(
    re.findall(
        r"^\| `((?:feature|model)=\w+)` \| ([^|]+?) \|",
        Path(__file__).parents[2].joinpath("docs/how-to/export.md").read_text(),
        re.MULTILINE,
    )
)
"""By choice, ``any`` or ``fixed`` for the length of clips that a model takes, ``yes`` for a feature."""

MODELS = {"embedding": "linear", "spectrogram_flat": "conv1d", "waveform": "conv1d"}
FEATURES = {
    "centroid": "embedding",
    "dnn": "embedding",
    "knn": "embedding",
    "linear": "embedding",
    "probe": "embedding",
}
SMALLER = {
    "ast": ["model.embed_dim=24", "model.num_layers=2", "model.num_heads=2"],
    "wav2vec2": ["model.embed_dim=32", "model.num_layers=2", "model.num_heads=2", "model.channels=16"],
    "vgg": ["model.depth=11"],
}

PAIRS = {
    **{f"feature={name}": (name, MODELS.get(name, "cnn")) for name in names("feature")},
    **{
        f"model={name}": (
            FEATURES.get(name, "waveform" if choices.target("model", name).input_kind == "waveform" else "logmel"),
            name,
        )
        for name in names("model")
    },
}


def classifier(feature: str, model: str) -> AudioClassifier:
    overrides = ["data=demo", f"data.sample_rate={RATE}", "data.clip_seconds=1", f"model={model}", f"feature={feature}"]
    if model in choices.PACKAGES:
        pytest.importorskip(choices.PACKAGES[model])
    config: Any = OmegaConf.to_container(compose([*overrides, *SMALLER.get(model, [])]), resolve=True)
    torch.manual_seed(0)
    made = AudioClassifier(config, AudioTask(("a", "b", "c"), RATE, RATE).to_dict(), [4, 4, 4], 12)
    clips = torch.from_numpy(noise(8))
    made.front_end.fit([clips])
    if made.network.memorizes:
        made.network.memorize(made.front_end(clips), torch.arange(8) % 3)
    return made.eval()


def noise(count: int) -> Any:
    time = np.arange(RATE) / RATE
    tones = np.sin(2 * np.pi * np.linspace(200, 3000, count)[:, None] * time)
    return (0.2 * tones + 0.05 * np.random.RandomState(0).randn(count, RATE)).astype(np.float32)


def length_of(feature: str, model: str) -> str:
    """Entry of the table for a choice, from the first graph that agrees with torch."""
    reference = classifier(feature, model)

    def expected(clips: Any) -> Any:
        return reference.probabilities(torch.from_numpy(clips)).numpy()

    probabilities = Probabilities(classifier(feature, model))
    for graph in graphs_of(probabilities):
        try:
            found = to_onnx(graph, probabilities.front_ends()).content(describe(reference))
        except ConfigError:
            if not graph.any_length:
                raise
            continue
        exported = OnnxModel(found, "model.onnx", threads=1).probabilities
        if graph.any_length and not agrees_at_other_lengths(expected, exported, noise(2)):
            continue
        assert compare(expected, exported, noise(8)).max_difference < 1e-4
        return "any" if graph.any_length else "fixed"
    raise AssertionError


@pytest.mark.full
@pytest.mark.parametrize("choice", PAIRS)
def test_choices_are_exported_or_rejected_in_one_line(choice: str) -> None:
    try:
        found = length_of(*PAIRS[choice])
    except ConfigError as error:
        found = str(error)
    assert re.fullmatch(r"any|fixed|[^\n]+cannot be exported[^\n]+", found)
    if choice in TABLE:
        assert (found if choice.startswith("model") else "yes") == TABLE[choice]


def test_the_table_has_all_features_and_no_unknown_choices() -> None:
    assert {f"feature={name}" for name in names("feature")} <= TABLE.keys() <= PAIRS.keys()
