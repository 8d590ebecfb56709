"""Objects built from the YAML files in conf/, for contract tests of every choice of a group."""

from typing import Any, TypeVar

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from audio_lightning.classifier.warm_start import buildable_model
from audio_lightning.config import build, config_dir, resolve
from audio_lightning.config.automatic import PROVISIONAL, automatic_keys
from audio_lightning.config.targets import grouped
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.features import FrontEnd
from audio_lightning.models import AudioModel
from audio_lightning.models.published import PUBLISHED

T = TypeVar("T")

KINDS: dict[str, type] = {"feature": FrontEnd, "model": AudioModel}

AMPLE: dict[InputKind, tuple[int, ...]] = {"waveform": (1, 16000), "spectrogram": (1, 256, 256)}
"""Large enough for any model; the error message then states the minimum."""

PACKAGES = {"timm": "timm"}
"""Optional package that a model needs, by model."""


def load(group: str, name: str) -> dict[str, Any]:
    """The YAML as plain Python, including the files of its defaults list."""
    own: Any = OmegaConf.load(config_dir() / group / f"{name}.yaml")
    entries = [entry for entry in own.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    bases = [load(group, entry) for entry in entries]
    node: Any = OmegaConf.to_container(OmegaConf.merge(*bases, own), resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def target(group: str, name: str) -> type:
    """The class that the YAML names."""
    return resolve(load(group, name)["_target_"], KINDS[group], where=group)


def front_end(name: str, *, sample_rate: int = 8000, num_samples: int = 8000, **changes: Any) -> FrontEnd:
    """The front end of conf/feature/``name``.yaml."""
    node = {**load("feature", name), **changes}
    return build(node, FrontEnd, where="feature", sample_rate=sample_rate, num_samples=num_samples)


def flat(cls: type[T], **arguments: Any) -> T:
    """Build an object from arguments as in a configuration, with those of settings among the others."""
    return cls(**grouped(cls, arguments))


def model(name: str, input_shape: FeatureShape, *, num_classes: int = 3, **changes: Any) -> AudioModel:
    """The network of conf/model/``name``.yaml."""
    node = {**load("model", name), **changes}
    if node.get("pretrained") == PUBLISHED:  # weights that may be missing on this machine
        node["pretrained"] = None
    return build(buildable_model(node), AudioModel, where="model", input_shape=input_shape, num_classes=num_classes)


def memorized(network: AudioModel, features: Tensor, targets: Tensor) -> AudioModel:
    """The network, after memorizing the clips if it stores training clips."""
    if network.memorizes:
        network.memorize(features, targets)
    return network


def smallest(name: str) -> tuple[InputKind, tuple[int, ...]]:
    """Input kind and minimum input of conf/model/``name``.yaml; skips the test if its package is missing."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    kind = target("model", name).input_kind
    with torch.device("meta"):
        return kind, model(name, FeatureShape(kind, AMPLE[kind])).minimum_input


USUAL = {
    **PROVISIONAL,
    "feature.hop_seconds": 0.03,
    "feature.window_seconds": 0.06,
    "augment.waveform.shift.max_seconds": 0.4,
    "trainer.max_epochs": 2,
}


def with_usual_values(config: DictConfig) -> DictConfig:
    """The configuration with values for keys that are inferred from recordings, which do not exist."""
    for key in automatic_keys(config):
        OmegaConf.update(config, key, USUAL[key])
    return config
