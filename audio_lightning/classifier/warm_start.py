"""Begin with the weights of a run of one's own, whatever the architecture: ``model.pretrained=RUN_DIR``.

Published weights are the architectures' own business (:mod:`audio_lightning.models.hub`); these come out of a
checkpoint of this program, which says what they are the weights of.
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
"""What names of weights in a checkpoint begin with."""

KEY = "pretrained"
"""Option that every choice of ``model`` has: published weights, where the architecture takes such, or a run."""

ARCHITECTURE = "architecture"
"""Option of those whose published weights bring an architecture of their own."""

DECIDING = ("ensemble", "model", "feature")
"""Nodes that say which network it is."""


@dataclass(frozen=True)
class Beginning:
    """Weights to begin with.

    Attributes:
        weights: of network and front end, by their names in a classifier.
        statistics: whether those of the front end are among them, since the clips are heard as they were.
        said: what is taken and what is new, in a sentence.
    """

    weights: dict[str, Tensor]
    statistics: bool
    said: str


def own_checkpoint(model: Mapping[str, Any]) -> Path | None:
    """The checkpoint of this program that the node of a model names: of a run folder, a ``.ckpt`` file, or of W&B.

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
    """The node of a model as its class is built from: a run of one's own is loaded afterwards.

    Raises:
        ConfigError: neither a run, nor anything that the class takes.
    """
    target, arguments = split_node(model, where="model")
    cls = resolve(target, AudioModel, where="model")
    node = {"_target_": target, **arguments}
    path = own_checkpoint(node)
    if takes(cls, KEY):
        return {**node, KEY: None, **own_options(node)} if path else node
    if (named := node.pop(KEY, None)) is not None and path is None:
        raise ConfigError(
            f"model.pretrained={named}: there is no such run or checkpoint, and of {cls.__name__} no published weights "
            "are known; expected the folder of a run, or its checkpoints/best.ckpt"
        )
    return node


def own_options(model: Mapping[str, Any]) -> dict[str, Any]:
    """Options that follow from the run that the node of a model names: those that it had from published weights."""
    path = own_checkpoint(model)
    if path is None or model.get(ARCHITECTURE, ...) is not None:
        return {}
    saved = read_checkpoint(path)["hyper_parameters"]["config"]
    # A network that was used as it was published is the feature of its run.
    found = next((node[ARCHITECTURE] for node in (saved["model"], saved["feature"]) if node.get(ARCHITECTURE)), None)
    return {ARCHITECTURE: found} if found else {}


def read_beginning(
    path: Path, config: Mapping[str, Any], task: Mapping[str, Any], network: AudioModel, front_end: nn.Module
) -> Beginning:
    """Read the weights that a classifier begins with; its own are not touched, and may be on the meta device.

    Adapters of the run are merged into the layers beside them; those of the classifier are new. The head is taken where
    the classes are the same, in the same order; else the classifier keeps its new one. The statistics of the features
    are taken where feature and sample rate are. What a network keeps of the training clips
    (:meth:`AudioModel.memorize`) is not taken: the clips may be others.

    Args:
        path: of the checkpoint.
        config: of the classifier.
        task: likewise, as :meth:`AudioTask.to_dict` gives it.
        network: of the classifier.
        front_end: likewise.

    Raises:
        CheckpointError: the file is damaged, or none of this program.
        ConfigError: the weights are of another network.
    """
    saved = read_checkpoint(path)
    before, heard = saved["hyper_parameters"]["config"], saved["hyper_parameters"]["task"]
    try:
        state = merge_adapters(saved["state_dict"], before.get("finetune"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; use another checkpoint") from error
    if isinstance(network, Published) and any(name.startswith(FRONT_END + BACKBONE) for name in state):
        state = {NETWORK + name: value for name, value in from_probe(state).items()}
    same_classes = all(heard[key] == task[key] for key in ("classes", "multilabel"))
    heads, own = set(_head_names(network)), set(memory_names(network))
    weights = {}
    for name, value in network.state_dict().items():
        if is_adapter(name) or name in own or (not same_classes and name in heads):
            continue
        found = state.get(NETWORK + plain_name(name))
        if found is None or found.shape != value.shape:
            raise ConfigError(f"model.pretrained={path}: {_difference(before, config, plain_name(name), found, value)}")
        weights[NETWORK + name] = found
    parts = ["the network" if same_classes else "all of the network but the head, as the classes are others"]
    measured = list(front_end.state_dict())
    same = before["feature"] == config["feature"] and heard["sample_rate"] == task["sample_rate"]
    statistics = same and all(FRONT_END + name in state for name in measured)
    new = ""
    if statistics:
        weights |= {FRONT_END + name: state[FRONT_END + name] for name in measured}
    if measured and statistics:
        parts.append("the statistics of the features")
    elif measured:
        new = "; the statistics of the features are new, as they are computed otherwise"
    return Beginning(weights, statistics, f"begins with the weights of {path}: {' and '.join(parts)}{new}")


def from_probe(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of :class:`Published` of a classifier that was trained on the network as it was published.

    Args:
        state: of the classifier, with ``feature=embedding`` and ``model=linear`` or ``dnn``.
    """
    found: dict[str, Tensor] = {}
    hidden = [name for name in state if name.startswith(NETWORK + "layers.")]
    last = 3 * len({name.split(".")[2] for name in hidden}) + 1  # behind a linear layer come ReLU and dropout
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
    """What is said of weights that do not fit."""
    options = [
        f"{node}.{key}={_shown(before[node].get(key))}"
        for node in DECIDING
        for key in sorted({*(before.get(node) or {}), *(now.get(node) or {})} - {KEY})
        if (before.get(node) or {}).get(key) != (now.get(node) or {}).get(key)
    ]
    has = "is not there" if found is None else f"has shape {list(found.shape)} there"
    remedy = (
        f"they were trained with {' '.join(options)}"
        if options
        else "see model and feature of the config.yaml beside it"
    )
    return f"these are the weights of another network ({name} {has}, and {list(value.shape)} here): {remedy}"


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).replace(" ", "")
