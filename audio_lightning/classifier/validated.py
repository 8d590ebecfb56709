"""The clips that a classifier was validated on, as its checkpoint keeps them: thresholds for any wish follow from them.

Which probability is high enough depends on what a wrong answer costs, which only the user knows. So no threshold is
stored for it but the logits and targets of the validation clips, from which :mod:`audio_lightning.inference.rejection`
computes it.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

VALIDATED = "validated"
"""Entry of a checkpoint that holds them."""

MOST_NUMBERS = 500_000
"""Logits that are kept at most, 2 MB: 10,000 clips of 50 classes. Further clips are left out, evenly."""


@dataclass(frozen=True)
class ValidatedClips:
    """Logits and targets of clips that a classifier was not trained on.

    Attributes:
        logits: before calibration, float32.
        targets: index of the class, ``[clips]`` int64, or whether each label is the clip's, ``[clips, classes]`` bool.
        energies: of :meth:`Classifier.logits_and_energy`; None where they are not known.
    """

    logits: Float[Tensor, "clips classes"]
    targets: Tensor
    energies: Float[Tensor, "clips"] | None = None

    @classmethod
    def of(
        cls, logits: Float[Tensor, "clips classes"], targets: Tensor, energies: Float[Tensor, "clips"] | None = None
    ) -> Self:
        """Of all clips, or as many as are kept."""
        most = max(1, MOST_NUMBERS // logits.shape[1])
        step = -(-len(logits) // most)
        kept = targets[::step].cpu()
        return cls(
            logits[::step].detach().float().cpu(),
            kept > 0.5 if kept.dim() == 2 else kept.long(),
            None if energies is None else energies[::step].detach().float().cpu(),
        )

    def to_plain(self) -> dict[str, Tensor]:
        """Tensors only, as a checkpoint may hold them."""
        known = {"logits": self.logits, "targets": self.targets, "energies": self.energies}
        return {name: value.clone() for name, value in known.items() if value is not None}

    @classmethod
    def from_plain(cls, values: Any, *, num_classes: int, multilabel: bool) -> Self | None:
        """The inverse of :meth:`to_plain`; None for a checkpoint without.

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
