"""From a configuration to its front end and network, and whether they and all that trains them fit together."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from audio_lightning.augment import Augmentation
from audio_lightning.classifier.bounds import check_clip, limited_features, limited_network
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.lora import add_adapters
from audio_lightning.classifier.optimizers import make_optimizer
from audio_lightning.classifier.schedulers import TrainingLength, make_scheduler, monitored
from audio_lightning.classifier.warm_start import KEY, buildable_model, own_checkpoint, read_beginning
from audio_lightning.config import build, resolve
from audio_lightning.config.targets import REFUSALS, refused, split_node, takes
from audio_lightning.config.trust import is_trusted
from audio_lightning.config.validate import is_multilabel
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.input_hints import enlarging_settings
from audio_lightning.losses.training_loss import TrainingLoss
from audio_lightning.metrics.configured import check_metrics
from audio_lightning.models.base import AudioModel, IncompatibleInput

ENSEMBLE_INPUTS = ("all", "channel")
"""Choices of ``ensemble.inputs``: the whole feature for each member, or one channel in turn."""


def build_front_end(config: Mapping[str, Any], task: AudioTask) -> FrontEnd:
    """The front end of a configuration, for the clips of a task.

    Raises:
        ConfigError: a target, an argument or a combination that cannot work.
    """
    return build(
        config["feature"], FrontEnd, where="feature", sample_rate=task.sample_rate, num_samples=task.num_samples
    )


def build_network(config: Mapping[str, Any], shape: FeatureShape, task: AudioTask) -> AudioModel:
    """The network of a configuration, or the ensemble of several, for a front end's output and a task's classes.

    With the adapters of ``finetune.lora``, beside the layers that it begins with.

    Raises:
        ConfigError: a target, an argument or a combination that cannot work; where the features are too small, with
            settings that make them large enough.
    """

    def make(seen: FeatureShape) -> AudioModel:
        node = buildable_model(config["model"])
        return build(node, AudioModel, where="model", input_shape=seen, num_classes=task.num_classes)

    members, apart = check_ensemble(config)
    try:
        network = make(shape) if members == 1 and not apart else Ensemble(make, members, shape, apart=apart)
    except IncompatibleInput as error:
        settings = enlarging_settings(config["feature"], task, error.least) if error.least else ""
        if not settings:
            raise
        raise IncompatibleInput(f"{error}, such as {settings}", least=error.least) from error
    add_adapters(network, config.get("finetune"))
    return network


def check_ensemble(config: Mapping[str, Any]) -> tuple[int, bool]:
    """The number of members of a configuration's ensemble, and whether each gets one channel of the feature.

    Raises:
        ConfigError: another number than a positive integer, or an unknown input.
    """
    node = config.get("ensemble") or {}
    if not isinstance(node, Mapping):
        raise ConfigError(f"ensemble={node}: expected its keys, as in ensemble.num_members={node}")
    members, inputs = node.get("num_members", 1), node.get("inputs", "all")
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        raise ConfigError(f"ensemble.num_members={members}: expected a whole number, at least 1")
    if inputs not in ENSEMBLE_INPUTS:
        raise ConfigError(f"ensemble.inputs={inputs}: expected one of {', '.join(ENSEMBLE_INPUTS)}")
    return members, inputs == "channel"


def _labels(config: Mapping[str, Any], task: AudioTask) -> AudioTask:
    """The task as far as a configuration tells: several labels a clip, and as many classes as the loss has weights."""
    node = config["loss"] or {}
    weights = next((node[key] for key in ("weight", "pos_weight") if isinstance(node.get(key), list)), task.classes)
    classes = tuple(map(str, range(max(2, len(weights)))))
    return replace(task, classes=classes, multilabel=task.multilabel or is_multilabel(config))


def check_networks(config: Mapping[str, Any], task: AudioTask) -> None:
    """Check that front end, network, fine-tuning, loss, metrics, optimizer and schedule can work, without memory.

    All of them are built, and the network is run once on what the front end gives.

    Raises:
        ConfigError: they cannot.
    """
    check_features(config, task)
    front_end = build_front_end(config, task)
    augmentation = Augmentation(config.get("augment") or {}, sample_rate=task.sample_rate)
    TrainingLoss(config["loss"], _labels(config, task), mixed=augmentation.mixes_targets)
    check_metrics(config.get("metrics"), multilabel=task.multilabel or is_multilabel(config))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # an error below says more
        network = build_network(config, front_end.output_shape, task)
    check_forward(config, network, front_end.output_shape, task)
    if (path := own_checkpoint(config["model"])) is not None:
        read_beginning(path, config, task.to_dict(), network, front_end)
    finetuning = Finetuning(config.get("finetune"), network, front_end)
    optimizer = make_optimizer(config["optimizer"], finetuning.parameter_groups(), finetuning.kinds)
    make_scheduler(config["scheduler"], optimizer, TrainingLength(steps=100, epochs=10), **monitored(config))


def check_features(config: Mapping[str, Any], task: AudioTask) -> FeatureShape | None:
    """Find out what the front end gives, without memory; None where that takes somebody else's code.

    Raises:
        ConfigError: a target or an argument that cannot work, or more memory for a clip than there is a reason for.
    """
    check_clip(task)
    target, _ = split_node(config["feature"], where="feature")
    if is_trusted(target):
        return None
    with torch.device("meta"), torch.no_grad(), limited_features():
        return build_front_end(config, task).output_shape


def check_size(config: Mapping[str, Any], task: AudioTask, state: Mapping[str, Tensor]) -> None:
    """Refuse a front end or a network that would be larger than the weights to be loaded into it, before it is built.

    Raises:
        ConfigError: see :func:`check_features` and :func:`limited_network`.
    """
    check_clip(task)
    feature, _ = split_node(config["feature"], where="feature")
    if not is_trusted(feature) and takes(resolve(feature, FrontEnd, where="feature"), "backbone"):
        # Its weights are registered by the network, and again as what is not trained.
        with limited_network(state, times=3), limited_features(), warnings.catch_warnings(action="ignore"):
            build_front_end(config, task)
    shape = check_features(config, task)
    target, _ = split_node(config["model"], where="model")
    if shape is not None and not is_trusted(target):
        with limited_network(state), warnings.catch_warnings(action="ignore"):
            build_network(config, shape, task)


def check_forward(config: Mapping[str, Any], network: AudioModel, shape: FeatureShape, task: AudioTask) -> None:
    """Run a network of the meta device once: with some options there are layers, but nothing that they could compute.

    Raises:
        ConfigError: it cannot be run.
    """
    error = _failure(network, network.quick_dims())
    target, arguments = split_node(config["model"], where="model")
    if error and is_trusted(target):  # what somebody else wrote may compute with values
        with torch.random.fork_rng(devices=()):
            error = _failure(build_network(config, shape, task), shape.dims)
    if error:
        cls = resolve(target, AudioModel, where="model")
        raise ConfigError(
            f"model: {cls.__name__} cannot compute on a {shape}: {refused(cls, arguments, error)}"
        ) from error


def _failure(network: AudioModel, dims: Sequence[int]) -> Exception | None:
    """What two clips make a network raise."""
    for name, parameter in network.named_parameters():
        if not parameter.numel():  # on the meta device, convolutions with kernels of no size pass
            return ValueError(f"there is nothing in {name} of shape {list(parameter.shape)}")
    try:
        with torch.no_grad():
            network.eval()(torch.empty(2, *dims, device=next(network.parameters()).device))
    except REFUSALS as error:
        return error
    return None


def without_pretrained(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a classifier whose weights a checkpoint has, so that no published ones are looked for."""
    found = dict(config)
    for name, base in (("feature", FrontEnd), ("model", AudioModel)):
        target, arguments = split_node(config[name], where=name)
        # Also where the node says nothing of it: then its default is meant.
        if KEY in arguments or takes(resolve(target, base, where=name), KEY):
            found[name] = {**config[name], KEY: None}
    return found
