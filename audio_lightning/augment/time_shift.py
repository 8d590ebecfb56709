"""Random time shift."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.base import WaveformAugmentation
from audio_lightning.core.checks import count_samples, require_choice


class TimeShift(WaveformAugmentation):
    """Random time shift of each clip, from ``-max_seconds`` to ``max_seconds``.

    With ``fill="zero"``, this equals a random crop of the clip padded by ``max_seconds`` of silence at both ends.

    Args:
        max_seconds: maximum shift in either direction, in seconds.
        fill: content of the free end: ``"zero"``, or ``"roll"`` for the samples that were shifted out at the other end.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.time_shift import TimeShift
        >>> clip = torch.arange(100.0)[None]
        >>> shifted = TimeShift(sample_rate=1000, max_seconds=0.05, fill="roll", p=1.0)(clip)
        >>> torch.equal(shifted.sort().values, clip)  # nothing is lost
        True
    """

    def __init__(
        self, *, sample_rate: int, max_seconds: float = 0.1, fill: Literal["zero", "roll"] = "zero", p: float = 0.5
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        self.max_samples = count_samples("max_seconds", max_seconds, sample_rate)
        require_choice("fill", fill, ("zero", "roll"))
        self.fill = fill

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Shift clips."""
        clips, length = x.shape
        furthest = self.max_samples if self.fill == "roll" else min(self.max_samples, length)
        shift = torch.randint(-furthest, furthest + 1, (clips,), device=x.device)
        # Each output row is a window of the padded clip: copying rows is faster than indexing every sample.
        if self.fill == "roll":
            padded, start = torch.cat([x, x], dim=1), -shift % length
        else:
            padded, start = functional.pad(x, (furthest, furthest)), furthest - shift
        return padded.unfold(1, length, 1)[torch.arange(clips, device=x.device), start]
