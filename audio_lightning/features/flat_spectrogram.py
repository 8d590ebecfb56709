"""Flattened spectrogram for one-dimensional networks."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.task import InputKind
from audio_lightning.features.spectrogram import Spectrogram


class FlatSpectrogram(Spectrogram):
    """Spectrogram flattened into one row, bin after bin, [B, T] to [B, 1, bins * frames].

    It is for networks that take a waveform: the Speech Commands recipes feed one-dimensional convolutions with it.
    Neighbours in the row are neighbours in time only within a bin. Use it to compare with those recipes; otherwise a
    two-dimensional network on :class:`Spectrogram` is the better choice.

    Options: see :class:`Spectrogram`.

    Example:
        >>> import torch
        >>> from audio_lightning.features.flat_spectrogram import FlatSpectrogram
        >>> front_end = FlatSpectrogram(sample_rate=16000, num_samples=16000, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape  # 257 bins x 101 frames
        torch.Size([2, 1, 25957])
    """

    kind: ClassVar[InputKind] = "waveform"
    is_sound: ClassVar[bool] = False

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """Compute the spectrogram and flatten it."""
        return super().compute(waveform).flatten(1)[:, None]
