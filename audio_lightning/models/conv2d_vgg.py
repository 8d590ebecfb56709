"""Deep VGG-style convolutional network with large kernels on spectrograms."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import convolutions


class Conv2DVGG(AudioModel):
    """Deep VGG-style network on spectrograms: groups of convolutions, each with max-pooling by 2, and a linear layer.

    Args:
        input_shape: shape of the spectrogram; each group halves its bins and frames.
        num_classes: number of logits.
        channels: number of channels of each group.
        num_layers: number of convolutions in each group.
        kernel_size: kernel size in bins and frames, an odd number.
        hidden_dim: width of the linear layer, whose output is the embedding.
        dropout: dropout probability before the linear layer.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small for the kernels of the last group.
        ConfigError: the lengths of ``channels`` and ``num_layers`` differ.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.conv2d_vgg import Conv2DVGG
        >>> shape = FeatureShape("spectrogram", (1, 40, 51))
        >>> model = Conv2DVGG(shape, num_classes=10, channels=[8, 16], num_layers=[1, 1], kernel_size=5)
        >>> model(torch.randn(2, 1, 40, 51)).shape
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_layers: Sequence[int] = (2, 2, 3, 3),
        kernel_size: int = 9,
        hidden_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        if len(channels) != len(num_layers):
            raise ConfigError(
                f"conv2dvgg has {len(channels)} channels and {len(num_layers)} num_layers; give one of each per group"
            )
        shrinks = 2 ** len(channels)
        # On smaller inputs, outer parts of the last kernels meet padding only. In bfloat16 on a CPU, PyTorch 2.11
        # returns uninitialized memory as the gradient of those parts.
        least = max(shrinks, shrinks // 2 * (kernel_size // 2))
        super().__init__(input_shape, num_classes, minimum_input=(least, least))
        groups: list[nn.Module] = []
        inputs, bins, frames = input_shape.dims
        for outputs, depth in zip(channels, num_layers):
            groups += [*convolutions(nn.Conv2d, inputs, outputs, depth, kernel_size), nn.MaxPool2d(2)]
            inputs = outputs
        self.groups = nn.Sequential(*groups)
        self.embedding = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(inputs * (bins // shrinks) * (frames // shrinks), hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
        )
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the linear layer."""
        return self.embedding(self.groups(x))
