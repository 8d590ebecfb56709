"""Random time shift."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.base import WaveformAugmentation
from audio_lightning.core.checks import count_samples, require_choice


class TimeShift(WaveformAugmentation):
    """Moves each clip in time by a whole number of samples, uniform from ``-max_seconds`` to ``max_seconds``.

    Filled with zeros, it is a random crop of the clip with ``max_seconds`` of silence put at both ends.

    Args:
        max_seconds: furthest shift either way.
        fill: what comes in at the end that is left free: ``"zero"``, or ``"roll"`` for what went out at the other end.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    def __init__(
        self, *, sample_rate: int, max_seconds: float = 0.1, fill: Literal["zero", "roll"] = "zero", p: float = 0.5
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        self.max_samples = count_samples("max_seconds", max_seconds, sample_rate)
        require_choice("fill", fill, ("zero", "roll"))
        self.fill = fill

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips that begin earlier or later."""
        clips, length = x.shape
        furthest = self.max_samples if self.fill == "roll" else min(self.max_samples, length)
        shift = torch.randint(-furthest, furthest + 1, (clips,), device=x.device)
        # A window of each padded clip: whole rows are copied, where an index for each sample would be slow.
        if self.fill == "roll":
            padded, start = torch.cat([x, x], dim=1), -shift % length
        else:
            padded, start = functional.pad(x, (furthest, furthest)), furthest - shift
        return padded.unfold(1, length, 1)[torch.arange(clips, device=x.device), start]
