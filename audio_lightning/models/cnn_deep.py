"""Deep convolutional network on spectrograms, without pooling between the convolutions."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp


class CNNDeep(AudioModel):
    """Deep convolutional network: 3x3 convolutions with LeakyReLU, one pooling at the end, then linear layers.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        channels: number of channels of each convolution.
        strides: stride of each convolution in bins and frames; 2 reduces the work of all later ones to a quarter.
        padding: whether the spectrogram is padded, so that a convolution with stride 1 keeps its size.
        batch_norm: whether each convolution is followed by batch normalization.
        negative_slope: slope of LeakyReLU below zero; 0 makes it ReLU.
        pooled: bins and frames after adaptive pooling, the input of the linear layers. None omits the pooling; then
            clips of other lengths are refused.
        mlp_dims: widths of the linear layers before the head; the output of the last is the embedding.
        dropout: dropout probability after each linear layer before the head.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small for the convolutions.
        ConfigError: the numbers of strides and channels differ, or ``pooled`` is not two sizes.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.cnn_deep import CNNDeep
        >>> shape = FeatureShape("spectrogram", (1, 64, 101))
        >>> model = CNNDeep(shape, num_classes=10, channels=[16, 32], strides=[2, 2])
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (64, 64, 64, 64, 64),
        strides: Sequence[int] = (1, 1, 1, 1, 1),
        padding: bool = True,
        batch_norm: bool = False,
        negative_slope: float = 0.01,
        pooled: Sequence[int] | None = (4, 4),
        mlp_dims: Sequence[int] = (256, 64),
        dropout: float = 0.2,
    ) -> None:
        if len(channels) != len(strides):
            raise ConfigError(
                f"cnndeep has {len(channels)} channels and {len(strides)} strides; give one stride for each convolution"
            )
        if pooled is not None and len(pooled) != 2:
            raise ConfigError(
                f"cnndeep pools to bins and frames, found pooled={list(pooled)}; give two sizes such as pooled=[4,4]"
            )
        margin = 1 if padding else 0
        least = 1
        for stride in reversed(strides):
            least = max(1, (least - 1) * stride + 3 - 2 * margin)
        super().__init__(input_shape, num_classes, minimum_input=(least, least))
        self.accepts_variable_length = pooled is not None
        layers: list[nn.Module] = []
        inputs, bins, frames = input_shape.dims
        for outputs, stride in zip(channels, strides):
            layers.append(nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=margin))
            if batch_norm:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(negative_slope))
            inputs, bins, frames = outputs, *((size + 2 * margin - 3) // stride + 1 for size in (bins, frames))
        if pooled is not None:
            bins, frames = pooled
            layers.append(nn.AdaptiveAvgPool2d((bins, frames)))
        self.convolutions = nn.Sequential(*layers)
        widths = [inputs * bins * frames, *mlp_dims]
        linear, self.embedding_dim = mlp(widths, dropout, partial(nn.LeakyReLU, negative_slope))
        self.embedding = nn.Sequential(*linear)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the last linear layer before the head."""
        return self.embedding(self.convolutions(x))
