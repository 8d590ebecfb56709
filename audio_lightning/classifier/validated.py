"""Validation logits and targets in checkpoints, from which rejection thresholds are computed.

The best threshold for rejecting uncertain predictions depends on the cost of errors, which only the user knows. So the
checkpoint does not store a threshold but the logits and targets of the validation clips, from which
:mod:`audio_lightning.inference.rejection` computes one.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

VALIDATED = "validated"
"""Key of a checkpoint's entry for them."""

MOST_NUMBERS = 500_000
"""Maximum number of stored logits, 2 MB: 10,000 clips of 50 classes. Beyond it, clips are subsampled evenly."""


@dataclass(frozen=True)
class ValidatedClips:
    """Logits and targets of clips that were not in the training set.

    Attributes:
        logits: logits before calibration, float32.
        targets: index of the class, ``[clips]`` int64, or presence of each label, ``[clips, classes]`` bool.
        energies: energies of :meth:`Classifier.logits_and_energy`; None if not known.
    """

    logits: Float[Tensor, "clips classes"]
    targets: Tensor
    energies: Float[Tensor, "clips"] | None = None

    @classmethod
    def of(
        cls, logits: Float[Tensor, "clips classes"], targets: Tensor, energies: Float[Tensor, "clips"] | None = None
    ) -> Self:
        """Create from all clips, subsampled if there are too many."""
        most = max(1, MOST_NUMBERS // logits.shape[1])
        step = -(-len(logits) // most)
        kept = targets[::step].cpu()
        return cls(
            logits[::step].detach().float().cpu(),
            kept > 0.5 if kept.dim() == 2 else kept.long(),
            None if energies is None else energies[::step].detach().float().cpu(),
        )

    def to_plain(self) -> dict[str, Tensor]:
        """Convert to a dict of tensors, as stored in checkpoints."""
        known = {"logits": self.logits, "targets": self.targets, "energies": self.energies}
        return {name: value.clone() for name, value in known.items() if value is not None}

    @classmethod
    def from_plain(cls, values: Any, *, num_classes: int, multilabel: bool) -> Self | None:
        """Restore the result of :meth:`to_plain`; None if a checkpoint has none.

        Raises:
            ValueError: tensors of other shapes or types, indices of no class, or logits that are not finite.
        """
        if values is None:
            return None
        logits, targets = (values.get(name) if isinstance(values, dict) else None for name in ("logits", "targets"))
        if not isinstance(logits, Tensor) or not isinstance(targets, Tensor):
            raise ValueError("validated clips: expected tensors of logits and targets")
        shape = (len(logits), num_classes) if multilabel else (len(logits),)
        kind = torch.bool if multilabel else torch.int64
        known = logits.dtype == torch.float32 and targets.dtype == kind
        if not known or logits.shape != (len(logits), num_classes) or targets.shape != shape:
            raise ValueError(f"validated clips: expected logits and targets of {num_classes} classes")
        if not multilabel and len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
            raise ValueError(f"validated clips: expected targets from 0 to {num_classes - 1}")
        if not bool(logits.isfinite().all()):
            raise ValueError("validated clips: expected finite logits")
        energies = values.get("energies")
        if energies is not None:
            real = isinstance(energies, Tensor) and energies.dtype == torch.float32
            if not real or energies.shape != (len(logits),) or not bool(energies.isfinite().all()):
                raise ValueError("validated clips: expected a finite energy for each")
        return cls(logits, targets, energies)
