"""Recurrent network (LSTM or GRU) on the frames of a spectrogram."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import Cell, mlp, recurrent


class LSTM(AudioModel):
    """Recurrent network over the frames; linear layers on the last hidden states of all its layers.

    Args:
        input_shape: shape of the spectrogram; the channels and bins of a frame are its values.
        num_classes: number of logits.
        cell: ``"lstm"`` or ``"gru"``.
        hidden_dim: size of the hidden state of a layer.
        num_layers: number of recurrent layers.
        bidirectional: whether each layer also runs backwards, which doubles the number of hidden states.
        mlp_dims: widths of the linear layers before the head; the output of the last is the embedding.
        dropout: dropout probability between recurrent layers and after each linear layer.

    Raises:
        IncompatibleInput: the input is not a spectrogram.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.lstm import LSTM
        >>> model = LSTM(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10, cell="gru", num_layers=1)
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
        >>> model(torch.randn(2, 1, 64, 50)).shape  # clips may have another length
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        cell: Cell = "lstm",
        hidden_dim: int = 16,
        num_layers: int = 3,
        bidirectional: bool = False,
        mlp_dims: Sequence[int] = (128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, num_classes)
        inputs = input_shape.channels * input_shape.dims[1]
        self.recurrent = recurrent(cell, inputs, hidden_dim, num_layers, bidirectional=bidirectional, dropout=dropout)
        # Applied before flattening, so that the states of all layers share the statistics of a hidden feature.
        self.norm = nn.BatchNorm1d(hidden_dim)
        states = hidden_dim * num_layers * (2 if bidirectional else 1)
        linear, self.embedding_dim = mlp([states, *mlp_dims], dropout)
        self.linear = nn.Sequential(*linear)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the last linear layer before the head."""
        _, state = self.recurrent(x.flatten(1, 2).transpose(1, 2))
        last = state[0] if isinstance(state, tuple) else state  # an LSTM also returns its cell state
        return self.linear(self.norm(last.permute(1, 2, 0)))
