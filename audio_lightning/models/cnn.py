"""Small convolutional network on spectrograms."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import pooled_convolutions


class CNN(AudioModel):
    """Small convolutional network: blocks of (convolution, ReLU, max-pooling), then two linear layers.

    Args:
        input_shape: shape of the spectrogram; each block halves its bins and frames.
        num_classes: number of logits.
        channels: number of channels of each block.
        hidden_dim: width of the first linear layer, whose output is the embedding.
        dropout: dropout probability before each linear layer.
        batch_norm: whether each convolution is followed by batch normalization.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small for the blocks.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.cnn import CNN
        >>> model = CNN(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        >>> x = torch.randn(2, 1, 64, 101)
        >>> model(x).shape
        torch.Size([2, 10])
        >>> model.embed(x).shape
        torch.Size([2, 128])
    """

    input_kind = "spectrogram"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (16, 32, 64),
        hidden_dim: int = 128,
        dropout: float = 0.2,
        batch_norm: bool = True,
    ) -> None:
        shrinks = 2 ** len(channels)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks, shrinks))
        widths = [input_shape.channels, *channels]
        self.blocks = nn.Sequential(*pooled_convolutions(widths, batch_norm=batch_norm))
        _, bins, frames = input_shape.dims
        self.embedding = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * (bins // shrinks) * (frames // shrinks), hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the first linear layer."""
        return self.embedding(self.blocks(x))
