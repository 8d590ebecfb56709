"""Base class of augmentations that use recordings."""

from abc import ABC
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation


class RecordedAugmentation(WaveformAugmentation, ABC):
    """Augmentation that uses recordings, which :meth:`set_recordings` provides before training.

    Attributes:
        source: kind of the recordings, ``noise`` or ``rir``; the key ``<source>_dir`` of a training is their folder.
        required: whether training without recordings is an error; otherwise, this augmentation is disabled.
    """

    source: ClassVar[str]
    required: bool = True

    samples: Float[Tensor, "samples"]
    starts: Int64[Tensor, "recordings"]
    lengths: Int64[Tensor, "recordings"]

    def __init__(self, *, sample_rate: int, p: float) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        self.register_buffer("samples", torch.empty(0), persistent=False)
        for name in ("starts", "lengths"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    @property
    def has_recordings(self) -> bool:
        """Whether there are recordings."""
        return len(self.starts) > 0

    def set_recordings(
        self,
        samples: Float[Tensor, "samples"],
        starts: Int64[Tensor, "recordings"],
        stops: Int64[Tensor, "recordings"],
    ) -> None:
        """Set the recordings to draw from, with equal probability.

        Args:
            samples: concatenated samples of all recordings, at the sample rate of the clips.
            starts: index of the first sample of each recording.
            stops: index after the last sample of each recording.

        Raises:
            ValueError: there are no recordings, or one is empty or not within ``samples``.
        """
        if len(starts) == 0 or len(starts) != len(stops):
            raise ValueError(f"expected a start and a stop of at least one recording, got {len(starts)}, {len(stops)}")
        if not bool(((starts >= 0) & (starts < stops) & (stops <= len(samples))).all()):
            raise ValueError(f"every recording must be a non-empty part of the {len(samples)} samples")
        device = self.samples.device
        self.samples = samples.to(device)
        self.starts, self.lengths = starts.to(device), (stops - starts).to(device)

    def _draw_recordings(self, clips: int) -> Int64[Tensor, "clips"]:
        """Draw the index of a recording for each clip.

        Raises:
            RuntimeError: there are no recordings.
        """
        if not self.has_recordings:
            raise RuntimeError(f"{type(self).__name__} has no recordings; call set_recordings() first")
        return torch.randint(len(self.starts), (clips,), device=self.samples.device)
