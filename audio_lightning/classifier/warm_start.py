"""Initial weights from a run of this program, for every architecture: ``model.pretrained=RUN_DIR``.

Published weights are loaded by the models themselves (:mod:`audio_lightning.models.hub`). This module loads checkpoints
of this program, which describe the network that their weights belong to.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audio_lightning.classifier.artifacts import ARTIFACT, artifact_folder
from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.lora import is_adapter, merge_adapters, plain_name
from audio_lightning.config import resolve
from audio_lightning.config.targets import split_node, takes
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.models.base import AudioModel
from audio_lightning.models.memory import memory_names
from audio_lightning.models.published import Published
from audio_lightning.run_folder import find_checkpoint

NETWORK, FRONT_END, BACKBONE = "network.", "front_end.", "backbone."
"""Prefixes of the names of weights in a checkpoint."""

KEY = "pretrained"
"""Option of every ``model`` choice: published weights, if there are any for the architecture, or a run."""

ARCHITECTURE = "architecture"
"""Option of models whose published weights define the architecture."""

DECIDING = ("ensemble", "model", "feature")
"""Nodes of the configuration that determine the network."""


@dataclass(frozen=True)
class Beginning:
    """Initial weights.

    Attributes:
        weights: weights of network and front end, by their names in a classifier.
        statistics: whether they include the statistics of the front end, whose features are the same.
        origin: sentence that describes which weights are taken and which are new.
    """

    weights: dict[str, Tensor]
    statistics: bool
    origin: str


def own_checkpoint(model: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint that a model's node names: in a run folder, a ``.ckpt`` file, or in a W&B artifact.

    None if it names none of these.

    Raises:
        ConfigError: see :func:`audio_lightning.classifier.artifacts.artifact_folder`.
    """
    named = model.get(KEY)
    if not isinstance(named, str):
        return None
    path = artifact_folder(named) if named.startswith(ARTIFACT) else Path(named).expanduser()
    if path.is_dir():
        with suppress(CheckpointError):  # a folder of published weights
            return find_checkpoint(path)
        return None
    return path if path.suffix == ".ckpt" and path.is_file() else None


def buildable_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's node for building its class; weights of a run are removed from it, and loaded afterwards.

    Raises:
        ConfigError: ``pretrained`` is neither a run nor a value that the class accepts.
    """
    target, arguments = split_node(model, where="model")
    cls = resolve(target, AudioModel, where="model")
    node = {"_target_": target, **arguments}
    path = own_checkpoint(node)
    if takes(cls, KEY):
        return {**node, KEY: None, **own_options(node)} if path else node
    if (named := node.pop(KEY, None)) is not None and path is None:
        raise ConfigError(
            f"model.pretrained={named}: there is no such run or checkpoint, and {cls.__name__} has no published "
            "weights; give the folder of a run, or its checkpoints/best.ckpt"
        )
    return node


def own_options(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that the run named by a model's node had derived from published weights."""
    path = own_checkpoint(model)
    if path is None or model.get(ARCHITECTURE, ...) is not None:
        return {}
    saved = read_checkpoint(path)["hyper_parameters"]["config"]
    # If the published network was frozen, it is the feature of the run.
    found = next((node[ARCHITECTURE] for node in (saved["model"], saved["feature"]) if node.get(ARCHITECTURE)), None)
    return {ARCHITECTURE: found} if found else {}


def read_beginning(
    path: Path, config: Mapping[str, Any], task: Mapping[str, Any], network: AudioModel, front_end: nn.Module
) -> Beginning:
    """Read the initial weights of a classifier; its own are not changed, and may be on the meta device.

    Adapters of the run are merged into their layers; those of the classifier are new. The head is taken if the classes
    and their order are the same; otherwise the classifier keeps its new one. The statistics of the features are taken
    if feature and sample rate are the same. Memorized training clips (:meth:`AudioModel.memorize`) are not taken,
    because the training clips may differ.

    Args:
        path: path of the checkpoint.
        config: configuration of the classifier.
        task: task of the classifier, as from :meth:`AudioTask.to_dict`.
        network: network of the classifier.
        front_end: front end of the classifier.

    Raises:
        CheckpointError: the file is damaged, or not a checkpoint of this program.
        ConfigError: the weights are those of another network.
    """
    saved = read_checkpoint(path)
    before, saved_task = saved["hyper_parameters"]["config"], saved["hyper_parameters"]["task"]
    try:
        state = merge_adapters(saved["state_dict"], before.get("finetune"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; use another checkpoint") from error
    if isinstance(network, Published) and any(name.startswith(FRONT_END + BACKBONE) for name in state):
        state = {NETWORK + name: value for name, value in from_probe(state).items()}
    same_classes = all(saved_task[key] == task[key] for key in ("classes", "multilabel"))
    heads, own = set(_head_names(network)), set(memory_names(network))
    weights = {}
    for name, value in network.state_dict().items():
        if is_adapter(name) or name in own or (not same_classes and name in heads):
            continue
        found = state.get(NETWORK + plain_name(name))
        if found is None or found.shape != value.shape:
            raise ConfigError(f"model.pretrained={path}: {_difference(before, config, plain_name(name), found, value)}")
        weights[NETWORK + name] = found
    parts = ["the network" if same_classes else "the network except its head, because the classes differ"]
    measured = list(front_end.state_dict())
    same = before["feature"] == config["feature"] and saved_task["sample_rate"] == task["sample_rate"]
    statistics = same and all(FRONT_END + name in state for name in measured)
    new = ""
    if statistics:
        weights |= {FRONT_END + name: state[FRONT_END + name] for name in measured}
    if measured and statistics:
        parts.append("the statistics of the features")
    elif measured:
        new = "; the statistics of the features are computed again, because the feature or the sample rate differs"
    return Beginning(weights, statistics, f"begins with the weights of {path}: {' and '.join(parts)}{new}")


def from_probe(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights of a classifier on embeddings to those of :class:`Published` for fine-tuning.

    Args:
        state: state dict of a classifier with ``feature=embedding`` and ``model=linear`` or ``dnn``.
    """
    found: dict[str, Tensor] = {}
    hidden = [name for name in state if name.startswith(NETWORK + "layers.")]
    last = 3 * len({name.split(".")[2] for name in hidden}) + 1  # each linear layer is followed by ReLU and dropout
    for name, value in state.items():
        if name.startswith(FRONT_END + BACKBONE):
            found[name.removeprefix(FRONT_END)] = value
        elif name in hidden:
            found[name.replace(NETWORK + "layers.", "head.")] = value
        elif name.startswith(NETWORK + "head."):
            found[name.replace(NETWORK + "head.", f"head.{last}.")] = value
    for name, key in (("mean", "running_mean"), ("std", "running_var")):
        if (known := state.get(f"{FRONT_END}normalization.{name}")) is not None:
            found[f"normalize.{key}"] = (known if name == "mean" else known.square()).flatten()
    found["normalize.num_batches_tracked"] = torch.tensor(1)
    return found


def _head_names(network: AudioModel) -> Iterator[str]:
    """Names of the parameters and buffers of the head, or of the heads of an ensemble."""
    heads = {id(module) for module in network.head.modules() if not isinstance(module, nn.ModuleList)}
    for prefix, module in network.named_modules(remove_duplicate=False):
        if id(module) in heads:
            yield from (f"{prefix}.{name}" for name in module.state_dict())


def _difference(
    before: Mapping[str, Any], now: Mapping[str, Any], name: str, found: Tensor | None, value: Tensor
) -> str:
    """Describe the difference between weights that do not fit and the network."""
    options = [
        f"{node}.{key}={_shown(before[node].get(key))}"
        for node in DECIDING
        for key in sorted({*(before.get(node) or {}), *(now.get(node) or {})} - {KEY})
        if (before.get(node) or {}).get(key) != (now.get(node) or {}).get(key)
    ]
    has = "is missing in the file" if found is None else f"has shape {list(found.shape)} in the file"
    remedy = (
        f"they were trained with {' '.join(options)}"
        if options
        else "see model and feature in the config.yaml of that run"
    )
    return f"these are the weights of another network ({name} {has}, expected {list(value.shape)}); {remedy}"


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).replace(" ", "")
