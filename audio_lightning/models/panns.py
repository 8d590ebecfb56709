"""Convolutional networks with global pooling, after those of pretrained audio neural networks."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel


class PANNs(AudioModel):
    """CNN10 and CNN14 (Kong et al. 2020, arXiv 1912.10211, table 1) of any width; from scratch, without their weights.

    Blocks of two 3x3 convolutions, each with batch normalization and ReLU; between blocks, average pooling halves bins
    and frames. The mean over the bins is pooled over time as mean plus maximum: a sound that fills the clip counts, and
    so does a short one. The default is a quarter as wide as CNN10, which suits a few thousand clips and a CPU.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        channels: channels of the blocks; CNN10 has (64, 128, 256, 512), and CNN14 goes on with 1024 and 2048.
        first_stride: step of the first convolution in bins and frames. 2, which the paper has not, leaves a quarter of
            the work to all that follows.
        hidden_dim: width of the linear layer behind the pooling, which is the embedding.
        block_dropout: probability of dropping an activation after each block; 0.2 in the paper.
        dropout: probability of dropping an activation before each linear layer; 0.5 in the paper.

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
        channels: Sequence[int] = (16, 32, 64, 128),
        first_stride: int = 1,
        hidden_dim: int = 256,
        block_dropout: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        shrinks = first_stride * 2 ** (len(channels) - 1)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks, shrinks))
        widths, strides = [input_shape.channels, *channels], [first_stride, *[1] * (len(channels) - 1)]
        self.blocks = nn.Sequential(
            *(_block(*width, stride, block_dropout) for width, stride in zip(pairwise(widths), strides))
        )
        self.halve = nn.AvgPool2d(2)
        self.embedding = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(widths[-1], hidden_dim), nn.ReLU(), nn.Dropout(dropout)
        )
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Activations of the first linear layer."""
        for number, block in enumerate(self.blocks):
            x = block(self.halve(x) if number else x)
        frames = x.mean(2)
        return self.embedding(frames.mean(2) + frames.amax(2))


def _block(inputs: int, outputs: int, stride: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, step in ((inputs, stride), (outputs, 1)):
        # Batch normalization subtracts the mean, and any bias with it.
        layers += [nn.Conv2d(width, outputs, 3, step, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout))
