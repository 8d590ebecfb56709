"""Convolutional recurrent network on spectrograms."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import Cell, pooled_convolutions, recurrent


class CRNN(AudioModel):
    """Convolutional recurrent network: blocks of (convolution, batch norm, ReLU, max-pooling), then recurrent layers.

    The recurrent layers run over the frames that the blocks leave.

    Args:
        input_shape: shape of the spectrogram; each block halves its bins and frames.
        num_classes: number of logits.
        channels: number of channels of each block.
        batch_norm: whether each convolution is followed by batch normalization.
        cell: ``"lstm"`` or ``"gru"``.
        hidden_dim: size of the hidden state of a recurrent layer and direction.
        num_layers: number of recurrent layers.
        bidirectional: whether each recurrent layer also runs backwards.
        dropout: dropout probability between the recurrent layers and in the embedding.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small for the blocks.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.crnn import CRNN
        >>> model = CRNN(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        >>> model.embed(torch.randn(2, 1, 64, 101)).shape  # 64 in each direction
        torch.Size([2, 128])
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
        cell: Cell = "lstm",
        hidden_dim: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
    ) -> None:
        shrinks = 2 ** len(channels)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks, shrinks))
        widths = [input_shape.channels, *channels]
        self.blocks = nn.Sequential(*pooled_convolutions(widths, batch_norm=batch_norm))
        inputs = widths[-1] * (input_shape.dims[1] // shrinks)
        self.recurrent = recurrent(cell, inputs, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.embedding_dim = hidden_dim * (2 if bidirectional else 1)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Average the output of the last recurrent layer over time, so that all positions in a clip count alike."""
        outputs, _ = self.recurrent(self.blocks(x).flatten(1, 2).transpose(1, 2))
        return self.dropout(outputs.mean(dim=1))
