"""Optimizers: PyTorch's, by their class names, and Muon, with separate weight decays of norms and biases."""

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from audio_lightning.classifier.muon import Muon
from audio_lightning.config.targets import accepted, build, resolve, split_node
from audio_lightning.core.errors import ConfigError
from audio_lightning.models.base import NORMALIZATIONS

UNSUITABLE = {
    "LBFGS": "it computes the loss of a batch several times in a step, which would count each clip several times",
    "SparseAdam": "it needs sparse gradients, which no layer here has",
    "Muon": "it trains matrices only, and networks also have biases and kernels of convolutions (see optimizer=muon)",
}
"""Optimizers of PyTorch that cannot train the networks of this package, with the reason."""


WEIGHT_DECAYS = {"norm_weight_decay": "norm", "bias_weight_decay": "bias"}
"""Keys of ``optimizer`` handled here, named as in torchvision's training scripts, and the kind of their parameters."""


def make_optimizer(
    node: Mapping[str, Any],
    groups: Iterable[Mapping[str, Any]],
    kinds: Mapping[nn.Parameter, str] = types.MappingProxyType({}),
) -> Optimizer:
    """Build the optimizer of a configuration.

    Normalizations and biases are in separate parameter groups if ``norm_weight_decay`` or ``bias_weight_decay`` differs
    from the weight decay of other parameters; None, or a missing key, means the same weight decay. Weight matrices are
    in separate groups for :class:`Muon`.

    Args:
        node: ``_target_`` and arguments under the class's own names.
        groups: parameter groups of :meth:`audio_lightning.classifier.finetune.Finetuning.parameter_groups`.
        kinds: kinds of parameters (:func:`parameter_kinds`).

    Raises:
        ConfigError: invalid target or argument.
    """
    target, arguments = split_node(node, where="optimizer")
    cls = resolve(target, Optimizer, where="optimizer")
    decays = {kind: arguments.pop(key, None) for key, kind in WEIGHT_DECAYS.items()}
    for key, kind in WEIGHT_DECAYS.items():
        value = decays[kind]
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise ConfigError(
                f"optimizer.{key}={value}: not a weight decay; use 0.0 or more, or null for optimizer.weight_decay"
            )
    if cls.__module__.startswith("torch.") and cls.__name__ in UNSUITABLE:
        raise ConfigError(
            f"optimizer._target_=torch.optim.{cls.__name__} cannot be used: {UNSUITABLE[cls.__name__]}; "
            "use optimizer=adamw, for example"
        )
    if issubclass(cls, Muon):
        groups = [part for group in groups for part in _with_matrices(group, kinds)]
    own = accepted(cls)[0].get("weight_decay")
    if own is not None:
        default = arguments.get("weight_decay", own.default)
        decays = {kind: value for kind, value in decays.items() if value not in (None, default)}
        groups = [part for group in groups for part in _divided(group, kinds, decays)]
    made: Optimizer = build({"_target_": target, **arguments}, Optimizer, where="optimizer", params=list(groups))
    return made


def needs_whole_weights(node: Mapping[str, Any]) -> bool:
    """Whether the optimizer of a configuration computes with whole weight matrices."""
    return issubclass(resolve(split_node(node, where="optimizer")[0], Optimizer, where="optimizer"), Muon)


def parameter_kinds(*parts: nn.Module, head: nn.Module | None = None) -> dict[nn.Parameter, str]:
    """Map parameters to their kinds; parameters of no kind are left out.

    Args:
        parts: modules with the parameters.
        head: part of them that computes the logits; its weights are no matrices for Muon, whose authors leave the last
            layer to AdamW.

    Returns:
        ``"norm"`` for parameters of normalizations, ``"bias"`` for biases of other layers, ``"matrix"`` for weights of
        linear layers and of ungrouped convolutions.
    """
    found = {}
    last = set() if head is None else set(head.parameters())
    for module in (module for part in parts for module in part.modules()):
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, NORMALIZATIONS):
                found[parameter] = "norm"
            elif "bias" in name.split("_") and parameter.dim() == 1:  # bias, in_proj_bias, bias_ih_l0
                found[parameter] = "bias"
            elif name == "weight" and _is_matrix(module) and parameter.dim() > 1 and parameter not in last:
                found[parameter] = "matrix"
    return found


def _is_matrix(module: nn.Module) -> bool:
    """Whether each output of a layer is a weighted sum of all inputs."""
    return isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and module.groups == 1)


def _with_matrices(group: Mapping[str, Any], kinds: Mapping[nn.Parameter, str]) -> Iterator[dict[str, Any]]:
    """Split a parameter group into the matrices for :class:`Muon` and all other parameters."""
    for use_muon in (True, False):
        params = [one for one in group["params"] if (kinds.get(one) == "matrix") == use_muon]
        if params:
            yield {**group, "params": params, "use_muon": use_muon}


def _divided(
    group: Mapping[str, Any], kinds: Mapping[nn.Parameter, str], decays: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Split a parameter group by weight decay; the first part has the optimizer's own."""
    parts: dict[float | None, list[nn.Parameter]] = {None: []}
    for parameter in group["params"]:
        parts.setdefault(decays.get(kinds.get(parameter, "")), []).append(parameter)
    for decay, parameters in parts.items():
        if parameters:
            yield {**group, "params": parameters, **({} if decay is None else {"weight_decay": decay})}
