"""Convolutions on spectrograms that are not pooled in between, and linear layers that narrow."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp


class CNNDeep(AudioModel):
    """Convolutions 3x3 with LeakyReLU, one pooling to a fixed size at their end, then linear layers.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        channels: channels of the convolutions, as many as there are convolutions.
        strides: step of each convolution in bins and frames; 2 leaves a quarter of the work to all that follow.
        padding: whether the picture is padded, so that a convolution with stride 1 keeps its size.
        batch_norm: whether each convolution is followed by batch normalization.
        negative_slope: slope of LeakyReLU below zero; 0 makes it ReLU.
        pooled: bins and frames of the picture that the linear layers see; null hands them the whole picture, and then
            clips of other lengths are refused.
        mlp_dims: widths of the linear layers before the head; the last is the embedding.
        dropout: probability with which an activation of a hidden linear layer is dropped.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the convolutions.
        ConfigError: not as many strides as channels, or ``pooled`` is not two sizes.
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
                f"cnndeep has {len(channels)} channels and {len(strides)} strides: give one of each a convolution"
            )
        if pooled is not None and len(pooled) != 2:
            raise ConfigError(
                f"cnndeep pools to bins and frames, expected two sizes in pooled and found {list(pooled)}"
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
        """Activations of the last hidden linear layer."""
        return self.embedding(self.convolutions(x))
