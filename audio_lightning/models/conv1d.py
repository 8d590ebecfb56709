"""Small convolutional network on waveforms."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp

POOL = 3


class Conv1D(AudioModel):
    """Small convolutional network on waveforms.

    Blocks of (convolution without padding, ReLU, max-pooling by 3, dropout), then linear layers.

    Args:
        input_shape: shape of the waveform.
        num_classes: number of logits.
        channels: number of channels of each block.
        kernel_sizes: kernel size of each block in samples of its input.
        mlp_dims: widths of the linear layers before the head; the output of the last is the embedding.
        dropout: dropout probability after each block and each linear layer before the head.

    Raises:
        IncompatibleInput: the input is not a waveform, or is too short for the blocks.
        ConfigError: the numbers of kernel sizes and channels differ.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.conv1d import Conv1D
        >>> model = Conv1D(FeatureShape("waveform", (1, 8000)), num_classes=10)
        >>> model(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 10])
    """

    input_kind = "waveform"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        channels: Sequence[int] = (8, 16, 32, 64),
        kernel_sizes: Sequence[int] = (13, 11, 9, 7),
        mlp_dims: Sequence[int] = (256, 128),
        dropout: float = 0.2,
    ) -> None:
        if len(channels) != len(kernel_sizes):
            raise ConfigError(
                f"conv1d has {len(channels)} channels and {len(kernel_sizes)} kernel_sizes; give one size per block"
            )
        least = 1
        for size in reversed(kernel_sizes):
            least = least * POOL + size - 1
        super().__init__(input_shape, num_classes, minimum_input=(least,))
        layers: list[nn.Module] = []
        inputs, length = input_shape.dims
        for outputs, size in zip(channels, kernel_sizes):
            convolution = nn.Conv1d(inputs, outputs, size)
            # With torch's default initialization, the signal would vanish, as there is no normalization.
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.ReLU(), nn.MaxPool1d(POOL), nn.Dropout(dropout)]
            inputs, length = outputs, (length - size + 1) // POOL
        linear, self.embedding_dim = mlp([inputs * length, *mlp_dims], dropout)
        self.layers = nn.Sequential(*layers, *linear)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the last linear layer before the head."""
        return self.layers(x)
