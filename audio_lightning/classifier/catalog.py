"""Compatibility of features and models, and the cost of each pair, determined without audio."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from audio_lightning.classifier.factory import build_front_end, build_network, check_forward
from audio_lightning.config import choices, compose, config_dir, resolve
from audio_lightning.config.trust import is_trusted
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask, FeatureShape, InputKind
from audio_lightning.data.settings import ClipSettings
from audio_lightning.features.base import FrontEnd
from audio_lightning.models.base import AudioModel


@dataclass(frozen=True)
class Cell:
    """A pair of a feature and a model.

    Attributes:
        feature: name of the feature's choice.
        model: name of the model's choice.
        shape: output shape of the front end; None if it cannot be built.
        network: the network on the meta device; None if the two do not fit together.
        reason: why they do not fit together.
        takes: kind of input of the model.
    """

    feature: str
    model: str
    shape: FeatureShape | None
    network: AudioModel | None
    reason: str | None
    takes: InputKind

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        assert self.network is not None
        return sum(parameter.numel() for parameter in self.network.parameters() if parameter.requires_grad)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network for one clip."""
        assert self.network is not None
        return self.network.macs()


def task_of(overrides: Iterable[str], num_classes: int) -> AudioTask:
    """Build a task with clips as described by the data keys of a command line, and ``num_classes`` classes.

    Values that would be derived from recordings (``auto``) are those of most data sets.

    Raises:
        ConfigError: clips without a sample.
    """
    data = compose(overrides).data
    clips = ClipSettings(data.sample_rate, data.clip_seconds, padding=data.padding).nominal
    names = tuple(f"class {number}" for number in range(num_classes))
    return AudioTask(names, clips.sample_rate, clips.num_samples, clips.padding)


def cells(
    features: Iterable[str],
    models: Iterable[str],
    task: AudioTask,
    overrides: Iterable[str],
    *,
    ensemble: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Cell]:
    """Yield every pair of a feature and a model.

    Args:
        features: names of features.
        models: names of models.
        task: length and sample rate of clips, and number of classes.
        overrides: keys of ``feature`` and ``model``, set for all choices that have them.
        ensemble: the ``ensemble`` node of each configuration.
    """
    overrides = list(overrides)
    is_changed = any(line.startswith("model.") for line in overrides)
    nodes = {name: _node("model", name, overrides) for name in models}
    takes = {name: resolve(node["_target_"], AudioModel, where="model").input_kind for name, node in nodes.items()}
    for feature in features:
        try:
            chosen = _node("feature", feature, overrides)
            front_end: FrontEnd = build_front_end({"feature": chosen}, task)
            shape = front_end.output_shape
        except ConfigError as error:
            yield from (Cell(feature, model, None, None, str(error), takes[model]) for model in nodes)
            continue
        for model, node in nodes.items():
            config = {"feature": chosen, "model": node, "ensemble": ensemble}
            try:
                with torch.device("meta"):
                    network = build_network(config, shape, task)
                # With default options, networks of this package that can be built can also be run.
                if is_changed or is_trusted(node["_target_"]):
                    check_forward(config, network, shape, task)
            except ConfigError as error:
                yield Cell(feature, model, shape, None, str(error), takes[model])
                continue
            yield Cell(feature, model, shape, network, None, takes[model])


def best_feature(
    model: str,
    task: AudioTask,
    overrides: Iterable[str] = (),
    *,
    ensemble: Mapping[str, Any] = MappingProxyType({}),
) -> Cell:
    """Return a model with the first feature on which it can be built: log-mel, waveform, then all others.

    If it can be built on none, the cell has no network, and the reason.
    """
    names = dict.fromkeys(("logmel", "waveform", *choices("feature")))
    refused = []
    for cell in cells(names, [model], task, overrides, ensemble=ensemble):
        if cell.network:
            return cell
        refused.append(cell)
    return next((cell for cell in refused if cell.shape and cell.shape.kind == cell.takes), refused[0])


def _node(group: str, name: str, overrides: list[str]) -> dict[str, Any]:
    """Compose the node of a choice, with those overrides whose keys it has."""
    config = _composed(group, name)
    fitting = [line for line in overrides if line.startswith(f"{group}.") and _has(config, line.partition("=")[0])]
    node = compose([f"{group}={name}", *fitting])[group] if fitting else config[group]
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return plain


@cache
def _composed(group: str, name: str) -> DictConfig:
    file = config_dir() / group / f"{name}.yaml"
    node = OmegaConf.load(file) if file.is_file() else None
    # Composing the whole configuration for each of about forty choices would take longer than all other steps.
    if isinstance(node, DictConfig) and "defaults" not in node:
        return DictConfig({group: node})
    return compose([f"{group}={name}"])


def _has(config: Any, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    return node is not None and name in node
