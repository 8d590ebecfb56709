"""Optimizers: PyTorch's by their own names."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from audio_lightning.config.targets import build, resolve, split_node
from audio_lightning.core.errors import ConfigError

UNSUITABLE = {
    "LBFGS": "it computes the loss of a batch several times in a step, so that each clip would be counted as often",
    "SparseAdam": "it takes sparse gradients, and no layer here has any",
    "Muon": "it takes matrices alone, and networks have biases and kernels, too",
}
"""Optimizers of PyTorch that cannot train the networks of this package, and why."""


def make_optimizer(node: Mapping[str, Any], groups: Iterable[dict[str, Any]]) -> Optimizer:
    """The optimizer that a configuration names.

    Args:
        node: ``_target_`` and arguments under the class's own names.
        groups: parameter groups of :meth:`audio_lightning.classifier.finetune.Finetuning.parameter_groups`.

    Raises:
        ConfigError: a target or an argument that cannot work.
    """
    cls = resolve(split_node(node, where="optimizer")[0], Optimizer, where="optimizer")
    if cls.__module__.startswith("torch.") and cls.__name__ in UNSUITABLE:
        raise ConfigError(f"optimizer._target_=torch.optim.{cls.__name__} cannot be used: {UNSUITABLE[cls.__name__]}")
    made: Optimizer = build(node, Optimizer, where="optimizer", params=list(groups))
    return made
