"""Metrics that collect one evaluation's clips over all batches and processes.

No state is a float64 tensor, because a module that holds one cannot be moved to Apple's GPUs.
"""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from audio_lightning.metrics.collected import Collected
from audio_lightning.metrics.configured import ConfiguredMetrics


class Predictions(Collected):
    """Logits and energies of clips, in the order of the clips' numbers.

    Args:
        num_classes: number of classes.
    """

    clips: list[Tensor]
    logits: list[Tensor]
    energies: list[Tensor]

    def __init__(self, num_classes: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes = num_classes
        for name in ("clips", "logits", "energies"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        clip: Int64[Tensor, "batch"],
        logits: Float[Tensor, "batch classes"],
        energies: Float[Tensor, "batch"],
    ) -> None:
        """Keep a batch: the number of every clip, its logits and its energy."""
        self.clips.append(clip.to(logits.device))
        self.logits.append(logits.detach())
        self.energies.append(energies.detach())

    def compute(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"], Float[Tensor, "clips"]]:
        """Numbers of the clips, ascending, their logits and their energies, on the CPU."""
        clips = joined(self.clips, torch.empty(0, dtype=torch.int64)).cpu()
        logits = joined(self.logits, torch.empty(0, self.num_classes)).cpu()
        energies = joined(self.energies, torch.empty(0)).cpu()
        order = clips.argsort()
        return clips[order], logits[order], energies[order]


class EvaluationMetrics(Collected):
    """Mean loss over the clips of one evaluation, and the metrics of the subclasses.

    Args:
        num_classes: number of classes.
        configured: further metrics, computed from the probabilities of all clips at once.
    """

    losses: list[Tensor]
    probabilities: list[Tensor]

    def __init__(self, num_classes: int, configured: ConfiguredMetrics | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes = num_classes
        self.configured = configured
        self.add_state("losses", [], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, logits: Float[Tensor, "batch classes"], target: Tensor, loss: Float[Tensor, "batch"]) -> None:
        """Add a batch: logits of every clip and class, targets, and the loss of every clip."""
        self.losses.append(loss.detach().float())

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, as scalars in float64 (float32 where the device lacks it)."""

    @abstractmethod
    def per_class(self) -> dict[str, Tensor]:
        """Columns of a table with one row a class."""

    @abstractmethod
    def clips(self) -> tuple[Float[Tensor, "clips classes"], Tensor]:
        """Probabilities and targets of all clips."""

    def _scalars(self, **values: Tensor) -> dict[str, Tensor]:
        values["loss"] = joined(self.losses, torch.empty(0)).double().mean()
        if self.configured:
            values |= self.configured.compute(*self.clips())
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: value.to(dtype) for name, value in values.items()}


def precision_recall_f1(hits: Tensor, targets: Tensor, predictions: Tensor) -> dict[str, Tensor]:
    """Columns of ``[classes]``, 0 where undefined, with the number of clips of each class."""
    return {
        "precision": (hits / predictions).nan_to_num(),
        "recall": (hits / targets).nan_to_num(),
        "f1": (2 * hits / (targets + predictions)).nan_to_num(),
        "clips": targets.long(),
    }


def joined(state: list[Tensor], nothing: Tensor) -> Tensor:
    """All batches of a state, on a device that has float64, or ``nothing`` if there was none."""
    tensor = dim_zero_cat(state) if len(state) else nothing
    return tensor.cpu() if tensor.device.type == "mps" else tensor
