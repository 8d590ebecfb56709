"""Checks of whether trainings of a configuration can be fused."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from audio_lightning.classifier.factory import build_front_end, build_network, check_ensemble
from audio_lightning.core.task import AudioTask
from audio_lightning.training.fusion.joint_network import JointPass
from audio_lightning.training.fusion.random_states import RandomState

WHOLE_PROCESS = ("wandb", "mlflow", "emissions")
"""Words in the class paths of loggers and callbacks that have one run per process, or measure the whole process."""


def reason_of_settings(config: Mapping[str, Any]) -> str | None:
    """Return why trainings with these settings cannot be fused; None if no setting prevents it.

    Args:
        config: resolved configuration.
    """
    trainer = config["trainer"]
    if str(trainer["devices"]) not in ("auto", "1") or trainer["num_nodes"] != 1:
        return "it trains on several devices"
    if trainer["strategy"] != "auto":
        return f"trainer.strategy={trainer['strategy']}"
    for key, value in (("precision", "32-true"), ("profiler", None), ("detect_anomaly", False)):
        if trainer[key] != value:
            return f"trainer.{key}={trainer[key]}"
    if trainer["accelerator"] not in ("auto", "cpu", "gpu", "cuda"):
        return f"trainer.accelerator={trainer['accelerator']}"
    if config.get("compile"):
        return "compile=true"
    if check_ensemble(config) != (1, False):
        return "it is an ensemble"
    if any((config.get("tuner") or {}).get(key) for key in ("lr_find", "scale_batch_size")):
        return "it searches for its learning rate or batch size"
    for group in ("logger", "callbacks"):
        for name, node in (config.get(group) or {}).items():
            target = str((node or {}).get("_target_", "")).lower()
            if any(word in target for word in WHOLE_PROCESS):
                return f"{group}={name} counts the whole process as one training"
    return None


def reason_of_network(config: Mapping[str, Any], task: AudioTask) -> str | None:
    """Return why networks of a configuration cannot be fused; None if they can.

    A forward and a backward pass of two networks run on the meta device, which allocates no memory.

    Args:
        config: resolved configuration.
        task: task of the data; only the number of its classes matters, not their names.
    """
    with torch.device("meta"), warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=()):
        networks = [build_network(config, build_front_end(config, task).output_shape, task) for _ in range(2)]
        return reason_of(networks, networks[0].quick_dims())


def reason_of(networks: list[Any], dims: list[int]) -> str | None:
    """Return why networks of one architecture cannot be fused; None if they can.

    Args:
        networks: networks on the meta device.
        dims: shape of an input without the batch dimension.
    """
    if networks[0].memorizes:
        return "it keeps the training clips"
    if not any(value.requires_grad for value in networks[0].parameters()):
        return "it has nothing to train"
    try:
        joint = JointPass(
            [network.train() for network in networks],
            [torch.empty(2, *dims, device="meta") for _ in networks],
            [RandomState() for _ in networks],
        )
        nn.functional.cross_entropy(joint.logits[0], torch.zeros(2, dtype=torch.int64, device="meta")).backward()
        joint.backward([0])
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None
