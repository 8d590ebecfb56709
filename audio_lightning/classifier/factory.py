"""Building of front end and network from a configuration, and checks that all parts of a training fit together."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from audio_lightning.augment import Augmentation
from audio_lightning.classifier.bounds import check_clip, limited_features, limited_network
from audio_lightning.classifier.distillation import check_teacher, distillation
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.lora import add_adapters
from audio_lightning.classifier.optimizers import make_optimizer
from audio_lightning.classifier.schedulers import TrainingLength, make_scheduler, monitored
from audio_lightning.classifier.warm_start import KEY, buildable_model, own_checkpoint, read_beginning
from audio_lightning.config import build, resolve
from audio_lightning.config.targets import REFUSALS, raised_by_user, refused, split_node, takes
from audio_lightning.config.trust import is_trusted
from audio_lightning.config.validate import is_multilabel
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.input_hints import enlarging_settings
from audio_lightning.losses.training_loss import TrainingLoss
from audio_lightning.metrics.configured import check_metrics
from audio_lightning.models.base import AudioModel, IncompatibleInput

ENSEMBLE_INPUTS = ("all", "channel")
"""Values of ``ensemble.inputs``: each member gets the whole feature, or one channel in turn."""


def build_front_end(config: Mapping[str, Any], task: AudioTask) -> FrontEnd:
    """Build the front end of a configuration for the clips of a task.

    Raises:
        ConfigError: invalid target, argument or combination.
    """
    return build(
        config["feature"], FrontEnd, where="feature", sample_rate=task.sample_rate, num_samples=task.num_samples
    )


def build_network(config: Mapping[str, Any], shape: FeatureShape, task: AudioTask) -> AudioModel:
    """Build the network of a configuration, or an ensemble, for a front end's output and a task's classes.

    The adapters of ``finetune.lora`` are added to the layers.

    Raises:
        ConfigError: invalid target, argument or combination. If the features are too small, the message contains
            settings that make them large enough.
    """

    def make(input_shape: FeatureShape) -> AudioModel:
        node = buildable_model(config["model"])
        return build(node, AudioModel, where="model", input_shape=input_shape, num_classes=task.num_classes)

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
    """Return the number of members of a configuration's ensemble, and whether each gets one channel of the feature.

    Raises:
        ConfigError: a number that is not a positive integer, or an unknown value of ``inputs``.
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
    """Task defined by a configuration: multilabel or not, and as many classes as the loss has weights."""
    node = config["loss"] or {}
    weights = next((node[key] for key in ("weight", "pos_weight") if isinstance(node.get(key), list)), task.classes)
    classes = tuple(map(str, range(max(2, len(weights)))))
    return replace(task, classes=classes, multilabel=task.multilabel or is_multilabel(config))


def check_choices(config: Mapping[str, Any], task: AudioTask) -> None:
    """Check what does not depend on keys that are ``auto``, such as the length of clips, before data is measured.

    These are the kind of the network's input, loss, metrics, optimizer and schedule. Other mistakes are left to
    :func:`check_networks`.

    Args:
        config: resolved configuration, of :func:`audio_lightning.config.automatic.provisional`.
        task: task with its provisional clips.

    Raises:
        ConfigError: a choice that cannot work with any clips.
    """
    nodes = without_pretrained(config)
    try:
        with torch.device("meta"), torch.no_grad(), warnings.catch_warnings(action="ignore"):
            build_network(nodes, build_front_end(nodes, task).output_shape, task)
    except IncompatibleInput as error:
        if error.least is None:  # an input of the other kind; one that is too small may be large enough for other clips
            raise
    except ConfigError:
        pass
    TrainingLoss(config["loss"], _labels(config, task), distilled=distillation(config) is not None)
    check_metrics(config.get("metrics"), multilabel=is_multilabel(config))
    layer = nn.Linear(1, 1)
    optimizer = make_optimizer(config["optimizer"], [{"params": list(layer.parameters())}])
    make_scheduler(config["scheduler"], optimizer, TrainingLength(steps=100, epochs=10), **monitored(config))


def check_networks(config: Mapping[str, Any], task: AudioTask) -> None:
    """Check that front end, network, fine-tuning, loss, metrics, teacher, optimizer and schedule fit together.

    All of them but the teacher are built. The network is built and run once on the meta device, which allocates no
    memory.

    Raises:
        ConfigError: they do not.
        CheckpointError: see :func:`audio_lightning.classifier.distillation.check_teacher`.
    """
    check_features(config, task)
    front_end = build_front_end(config, task)
    augmentation = Augmentation(config.get("augment") or {}, sample_rate=task.sample_rate)
    distilled = distillation(config) is not None
    TrainingLoss(config["loss"], _labels(config, task), mixed=augmentation.mixes_targets, distilled=distilled)
    check_metrics(config.get("metrics"), multilabel=task.multilabel or is_multilabel(config))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # an error below is more specific
        network = build_network(config, front_end.output_shape, task)
    check_forward(config, network, front_end.output_shape, task)
    if (path := own_checkpoint(config["model"])) is not None:
        read_beginning(path, config, task.to_dict(), network, front_end)
    check_teacher(config, task)
    finetuning = Finetuning(config.get("finetune"), network, front_end)
    optimizer = make_optimizer(config["optimizer"], finetuning.parameter_groups(), finetuning.kinds)
    make_scheduler(config["scheduler"], optimizer, TrainingLength(steps=100, epochs=10), **monitored(config))


def check_features(config: Mapping[str, Any], task: AudioTask) -> FeatureShape | None:
    """Determine the front end's output shape on the meta device; None if this would run code of another author.

    Raises:
        ConfigError: invalid target or argument, or an unreasonable amount of memory for a clip.
    """
    check_clip(task)
    target, _ = split_node(config["feature"], where="feature")
    if is_trusted(target):
        return None
    with torch.device("meta"), torch.no_grad(), limited_features():
        return build_front_end(config, task).output_shape


def check_size(config: Mapping[str, Any], task: AudioTask, state: Mapping[str, Tensor]) -> None:
    """Check before building that front end and network would not be larger than the weights to load into them.

    Raises:
        ConfigError: see :func:`check_features` and :func:`limited_network`.
    """
    check_clip(task)
    feature, _ = split_node(config["feature"], where="feature")
    if not is_trusted(feature) and takes(resolve(feature, FrontEnd, where="feature"), "backbone"):
        # Its weights are registered twice: as parameters of the network, and then as buffers.
        with limited_network(state, times=3), limited_features(), warnings.catch_warnings(action="ignore"):
            build_front_end(config, task)
    shape = check_features(config, task)
    target, _ = split_node(config["model"], where="model")
    if shape is not None and not is_trusted(target):
        with limited_network(state), warnings.catch_warnings(action="ignore"):
            build_network(config, shape, task)


def check_forward(config: Mapping[str, Any], network: AudioModel, shape: FeatureShape, task: AudioTask) -> None:
    """Run a network once on the meta device: some options give layers that can be built but not run.

    Raises:
        ConfigError: the network cannot be run.
    """
    error = _failure(network, network.quick_dims())
    target, arguments = split_node(config["model"], where="model")
    if error and is_trusted(target):  # code of another author may depend on values, which meta tensors lack
        with torch.random.fork_rng(devices=()):
            error = _failure(build_network(config, shape, task), shape.dims)
    if error:
        cls = resolve(target, AudioModel, where="model")
        raise ConfigError(
            f"model: {cls.__name__} cannot compute on a {shape}: "
            + (raised_by_user(error) or refused(cls, arguments, error))
        ) from error


def _failure(network: AudioModel, dims: Sequence[int]) -> Exception | None:
    """Return the exception that a network raises for two clips, or None."""
    for name, parameter in network.named_parameters():
        if not parameter.numel():  # on the meta device, convolutions with empty kernels raise nothing
            return ValueError(f"{name} of shape {list(parameter.shape)} is empty")
    try:
        with torch.no_grad():
            network.eval()(torch.empty(2, *dims, device=next(network.parameters()).device))
    except UserError:
        raise
    except Exception as error:  # a mistake in a user's own class is reported, one of this package raised
        if not isinstance(error, REFUSALS) and raised_by_user(error) is None:
            raise
        return error
    return None


def without_pretrained(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration without published weights, for a classifier whose weights are in a checkpoint."""
    found = dict(config)
    for name, base in (("feature", FrontEnd), ("model", AudioModel)):
        target, arguments = split_node(config[name], where=name)
        # Also if the node lacks the key, because the default may be published weights.
        if KEY in arguments or takes(resolve(target, base, where=name), KEY):
            found[name] = {**config[name], KEY: None}
    return found
