"""Base classes of metrics that collect the clips of an evaluation over all batches and processes.

No state is a float64 tensor, because a module with one cannot be moved to Apple GPUs.
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
    """Logits and energies of clips, sorted by clip index.

    Args:
        num_classes: number of classes.

    Example:
        >>> import torch
        >>> predictions = Predictions(num_classes=2)
        >>> predictions.update(torch.tensor([1, 0]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.zeros(2))
        >>> clips, logits, energies = predictions.compute()
        >>> clips.tolist(), logits.tolist()
        ([0, 1], [[2.0, 0.0], [0.0, 1.0]])
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
        """Add a batch.

        Args:
            clip: index of each clip.
            logits: raw scores, ``[batch, classes]``.
            energies: energy score of each clip.
        """
        self.clips.append(clip.to(logits.device))
        self.logits.append(logits.detach())
        self.energies.append(energies.detach())

    def compute(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"], Float[Tensor, "clips"]]:
        """Return the clip indices in ascending order, their logits and their energies, on the CPU."""
        clips = joined(self.clips, torch.empty(0, dtype=torch.int64)).cpu()
        logits = joined(self.logits, torch.empty(0, self.num_classes)).cpu()
        energies = joined(self.energies, torch.empty(0)).cpu()
        order = clips.argsort()
        return clips[order], logits[order], energies[order]


class EvaluationMetrics(Collected):
    """Base class of the metrics of an evaluation, with the mean loss over its clips.

    Args:
        num_classes: number of classes.
        configured: additional metrics, computed from the probabilities of all clips at once.
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
        """Add a batch.

        Args:
            logits: raw scores, ``[batch, classes]``.
            target: class index ``[batch]``, or 1 for the labels of a clip and 0 otherwise ``[batch, classes]``.
            loss: loss of each clip, ``[batch]``.
        """
        self.losses.append(loss.detach().float())

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Compute the metrics by name, as scalars in float64 (float32 on devices without it)."""

    @abstractmethod
    def per_class(self) -> dict[str, Tensor]:
        """Compute the columns of a table with one row per class."""

    @abstractmethod
    def clips(self) -> tuple[Float[Tensor, "clips classes"], Tensor]:
        """Return the probabilities and targets of all clips."""

    def _scalars(self, **values: Tensor) -> dict[str, Tensor]:
        values["loss"] = joined(self.losses, torch.empty(0)).double().mean()
        if self.configured:
            values |= self.configured.compute(*self.clips())
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {name: value.to(dtype) for name, value in values.items()}


def precision_recall_f1(hits: Tensor, targets: Tensor, predictions: Tensor) -> dict[str, Tensor]:
    """Compute precision, recall and F1 of each class (0 if undefined), and its number of clips; each ``[classes]``.

    Args:
        hits: number of correct predictions of each class.
        targets: number of clips of each class.
        predictions: number of predictions of each class.
    """
    return {
        "precision": (hits / predictions).nan_to_num(),
        "recall": (hits / targets).nan_to_num(),
        "f1": (2 * hits / (targets + predictions)).nan_to_num(),
        "clips": targets.long(),
    }


def joined(state: list[Tensor], nothing: Tensor) -> Tensor:
    """Concatenate all batches of a state, on a device with float64; return ``nothing`` if there is no batch."""
    tensor = dim_zero_cat(state) if len(state) else nothing
    return tensor.cpu() if tensor.device.type == "mps" else tensor
