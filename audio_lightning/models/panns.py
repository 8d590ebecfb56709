"""PANNs: convolutional networks with global pooling, trained from scratch."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel


class PANNs(AudioModel):
    """PANNs (Kong et al. 2020, arXiv 1912.10211): CNN10 and CNN14 of any width, trained from scratch.

    Blocks of two 3x3 convolutions, each with batch normalization and ReLU; between blocks, average pooling halves bins
    and frames. The mean over the bins is pooled over time as mean plus maximum, so that both long and short sounds
    count. The default is a quarter as wide as CNN10, which suits a few thousand clips and a CPU. For the published
    weights, use ``model=published``.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        channels: number of channels of each block; CNN10 has (64, 128, 256, 512), CNN14 also 1024 and 2048.
        first_stride: stride of the first convolution in bins and frames; 1 in the paper. 2 reduces the work of all
            later layers to a quarter.
        hidden_dim: width of the linear layer after the pooling, whose output is the embedding.
        block_dropout: dropout probability after each block; 0.2 in the paper.
        dropout: dropout probability before each linear layer; 0.5 in the paper.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small for the blocks.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.panns import PANNs
        >>> model = PANNs(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
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
        """Compute the activations of the linear layer before the head."""
        for number, block in enumerate(self.blocks):
            x = block(self.halve(x) if number else x)
        frames = x.mean(2)
        return self.embedding(frames.mean(2) + frames.amax(2))


def _block(inputs: int, outputs: int, stride: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, step in ((inputs, stride), (outputs, 1)):
        # No bias before batch normalization, which subtracts the mean and the bias with it.
        layers += [nn.Conv2d(width, outputs, 3, step, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout))
