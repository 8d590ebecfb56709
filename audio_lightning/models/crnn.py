"""Convolutional front and recurrent back on spectrograms."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class CRNN(AudioModel):
    """Blocks of (convolution, batch normalization, ReLU, max-pooling), then recurrent layers over what is left of time.

    Args:
        input_shape: shape of the spectrogram; each block halves its bins and frames.
        num_classes: number of logits.
        channels: channels of the blocks, as many as there are blocks.
        batch_norm: whether each convolution is followed by batch normalization.
        cell: ``"lstm"`` or ``"gru"``.
        hidden: size of the hidden state of a recurrent layer and direction.
        layers: number of recurrent layers.
        bidirectional: whether each recurrent layer also runs backwards.
        dropout: probability with which a value is dropped between the recurrent layers and in the embedding.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the blocks.
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (32, 64, 64),
        batch_norm: bool = True,
        cell: Literal["lstm", "gru"] = "lstm",
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
    ) -> None:
        shrinks = 2 ** len(channels)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks, shrinks))
        widths = [input_shape.channels, *channels]
        self.blocks = nn.Sequential(*(_block(inputs, outputs, batch_norm) for inputs, outputs in pairwise(widths)))
        self.recurrent = CELLS[cell](
            widths[-1] * (input_shape.dims[1] // shrinks),
            hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,  # there is nothing between the layers of one
        )
        self.dropout = nn.Dropout(dropout)
        self.embedding_dim = hidden * (2 if bidirectional else 1)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Mean of the recurrent layers' output over time, which does not ask where in the clip the sound is."""
        outputs, _ = self.recurrent(self.blocks(x).flatten(1, 2).transpose(1, 2))
        return self.dropout(outputs.mean(dim=1))


def _block(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    # Batch normalization subtracts the mean, and any bias with it.
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not batch_norm)]
    layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(2))
