"""A spectrogram as one long row."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from audio_lightning.core.task import InputKind
from audio_lightning.features.spectrogram import Spectrogram


class FlatSpectrogram(Spectrogram):
    """Spectrogram bin by bin in one row, [B, T] to [B, 1, bins * frames], for networks that take a waveform.

    The Speech Commands systems feed one-dimensional convolutions with it. Neighbours in the row are neighbours in time
    only within a bin, so a picture network is the better choice for anything but a comparison with them.

    Options are those of :class:`Spectrogram`.
    """

    kind: ClassVar[InputKind] = "waveform"
    is_sound: ClassVar[bool] = False

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """The picture's rows, one behind the other."""
        return super().compute(waveform).flatten(1)[:, None]
