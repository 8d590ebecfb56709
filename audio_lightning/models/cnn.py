"""Small convolutional network on spectrograms."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel


class CNN(AudioModel):
    """Blocks of (convolution, ReLU, max-pooling), then two linear layers.

    Args:
        input_shape: shape of the spectrogram; each block halves its bins and frames.
        num_classes: number of logits.
        channels: channels of the blocks, as many as there are blocks.
        hidden: width of the first linear layer, which is the embedding.
        dropout: probability with which an activation is dropped before each linear layer.
        batch_norm: whether each convolution is followed by batch normalization.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the blocks.
    """

    input_kind = "spectrogram"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 128,
        dropout: float = 0.2,
        batch_norm: bool = True,
    ) -> None:
        shrinks = 2 ** len(channels)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks, shrinks))
        widths = [input_shape.channels, *channels]
        self.blocks = nn.Sequential(*(_block(inputs, outputs, batch_norm) for inputs, outputs in pairwise(widths)))
        _, bins, frames = input_shape.dims
        self.embedding = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * (bins // shrinks) * (frames // shrinks), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.embedding_dim = hidden
        self.head = nn.Linear(hidden, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Activations of the first linear layer."""
        return self.embedding(self.blocks(x))


def _block(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    return nn.Sequential(
        # Batch normalization subtracts the mean, and any bias with it.
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not batch_norm),
        nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
