"""MatchboxNet: residual network of one-dimensional time-channel separable convolutions."""

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

FIRST_KERNEL = 11
LAST_KERNEL = 29
OUTER_CHANNELS = 128
"""Channels and kernel sizes of the convolutions before and after the residual blocks, the same in all variants."""


class MatchboxNet(AudioModel):
    """MatchboxNet-BxRxC (Majumdar and Ginsburg 2020, arXiv 2004.08531): convolutions in time, bins as channels.

    A separable convolution; B residual blocks of R separable convolutions with C channels and kernels of 13, 15, 17...
    frames; a dilated separable convolution, a pointwise one, and the mean over time.

    Args:
        input_shape: shape of the spectrogram; in the paper 64 MFCCs of 25 ms windows every 10 ms.
        num_classes: number of logits.
        blocks: number of residual blocks, B.
        repeats: number of separable convolutions in a block, R.
        channels: number of channels of the blocks, C.
        dropout: dropout probability after each layer.

    Raises:
        IncompatibleInput: the input is not a spectrogram.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.matchboxnet import MatchboxNet
        >>> model = MatchboxNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=12)
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 12])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        blocks: int = 3,
        repeats: int = 1,
        channels: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, num_classes)
        bins = input_shape.channels * input_shape.dims[1]
        widths = [OUTER_CHANNELS, *[channels] * blocks]
        self.layers = nn.Sequential(
            nn.Flatten(1, 2),
            *_separable(bins, OUTER_CHANNELS, FIRST_KERNEL),
            *_activation(dropout),
            *(
                _Block(inputs, channels, FIRST_KERNEL + 2 * number, repeats, dropout)
                for number, inputs in enumerate(widths[:-1], 1)
            ),
            *_separable(widths[-1], OUTER_CHANNELS, LAST_KERNEL, dilation=2),
            *_activation(dropout),
            *_pointwise(OUTER_CHANNELS, OUTER_CHANNELS),
            *_activation(dropout),
        )
        self.embedding_dim = OUTER_CHANNELS
        # As the head is linear, this equals the published order: logits of every frame, then their mean.
        self.head = nn.Linear(OUTER_CHANNELS, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Average the last convolution over time."""
        return self.layers(x).mean(-1)


class _Block(nn.Module):
    """Separable convolutions with a residual connection through a pointwise convolution."""

    def __init__(self, inputs: int, channels: int, kernel_size: int, repeats: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(repeats):
            layers += _activation(dropout) if number else []
            layers += _separable(channels if number else inputs, channels, kernel_size)
        self.layers = nn.Sequential(*layers)
        self.residual = nn.Sequential(*_pointwise(inputs, channels))
        self.activation = nn.Sequential(*_activation(dropout))

    def forward(self, x: Float[Tensor, "batch inputs frames"]) -> Float[Tensor, "batch channels frames"]:
        return self.activation(self.layers(x) + self.residual(x))


def _separable(inputs: int, outputs: int, kernel_size: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel_size - 1) // 2
    depthwise = nn.Conv1d(inputs, inputs, kernel_size, padding=padding, dilation=dilation, groups=inputs, bias=False)
    return [depthwise, *_pointwise(inputs, outputs)]


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)]


def _activation(dropout: float) -> list[nn.Module]:
    return [nn.ReLU(), nn.Dropout(dropout)]
