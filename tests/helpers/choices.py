"""Builds what a YAML in conf/ describes, for tests that hold every choice of a group to the same contract."""

from typing import Any, TypeVar

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from audio_lightning.classifier.warm_start import buildable_model
from audio_lightning.config import build, config_dir, resolve
from audio_lightning.config.automatic import automatic_keys
from audio_lightning.config.targets import grouped
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.features import FrontEnd
from audio_lightning.models import AudioModel
from audio_lightning.models.published import PUBLISHED

T = TypeVar("T")

KINDS: dict[str, type] = {"feature": FrontEnd, "model": AudioModel}

AMPLE: dict[InputKind, tuple[int, ...]] = {"waveform": (1, 16000), "spectrogram": (1, 256, 256)}
"""Large enough for any model; it then says how much it needs."""

PACKAGES = {"timm": "timm"}
"""By model, the package that it needs and that is not always installed."""


def load(group: str, name: str) -> dict[str, Any]:
    """The YAML as plain Python, with the files of the group that it begins with."""
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
    """An object made of arguments as a configuration states them, those in groups among the others."""
    return cls(**grouped(cls, arguments))


def model(name: str, input_shape: FeatureShape, *, num_classes: int = 3, **changes: Any) -> AudioModel:
    """The network of conf/model/``name``.yaml."""
    node = {**load("model", name), **changes}
    if node.get("pretrained") == PUBLISHED:  # weights that may not be on this machine
        node["pretrained"] = None
    return build(buildable_model(node), AudioModel, where="model", input_shape=input_shape, num_classes=num_classes)


def memorized(network: AudioModel, features: Tensor, targets: Tensor) -> AudioModel:
    """The network, which has been given the clips to keep where it keeps such."""
    if network.memorizes:
        network.memorize(features, targets)
    return network


def smallest(name: str) -> tuple[InputKind, tuple[int, ...]]:
    """What conf/model/``name``.yaml takes, and the least of it; skips the test where its package is missing."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    kind = target("model", name).input_kind
    with torch.device("meta"):
        return kind, model(name, FeatureShape(kind, AMPLE[kind])).minimum_input


USUAL = {
    "data.sample_rate": 22050,
    "data.clip_seconds": 4.0,
    "data.hop_seconds": None,
    "data.padding": "zero",
    "data.batch_size": 32,
    "data.sampling": "uniform",
    "feature.hop_seconds": 0.03,
    "feature.window_seconds": 0.06,
    "feature.n_mels": 64,
    "augment.waveform.shift.max_seconds": 0.4,
    "trainer.max_epochs": 2,
    "trainer.precision": "32-true",
}


def with_usual_values(config: DictConfig) -> DictConfig:
    """The configuration with values in place of what would follow from recordings, where there are none."""
    for key in automatic_keys(config):
        OmegaConf.update(config, key, USUAL[key])
    return config
