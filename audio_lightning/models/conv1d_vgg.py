"""Deep VGG-style convolutional network on waveforms, with or without skip connections."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import convolutions


class Conv1DVGG(AudioModel):
    """Deep VGG-style network on waveforms: groups of convolutions, each with max-pooling by 2, and a linear layer.

    With ``skip``, the pooled output of a group is also concatenated to the output of the next group before its pooling.
    So a pooled map has the channels of its own group and of all groups before it.

    Args:
        input_shape: shape of the waveform; each group halves its length.
        num_classes: number of logits.
        channels: number of channels of each group.
        num_layers: number of convolutions in each group.
        kernel_size: kernel size in samples, an odd number.
        hidden_dim: width of the linear layer, whose output is the embedding.
        dropout: dropout probability before the linear layer.
        skip: whether the groups have skip connections.

    Raises:
        IncompatibleInput: the input is not a waveform, or is too short for the groups.
        ConfigError: the lengths of ``channels`` and ``num_layers`` differ.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.conv1d_vgg import Conv1DVGG
        >>> shape = FeatureShape("waveform", (1, 4000))
        >>> model = Conv1DVGG(shape, num_classes=10, channels=[16, 32], num_layers=[1, 1], skip=True)
        >>> model(torch.randn(2, 1, 4000)).shape
        torch.Size([2, 10])
    """

    input_kind = "waveform"

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
        skip: bool = False,
    ) -> None:
        if len(channels) != len(num_layers):
            raise ConfigError(
                f"conv1dvgg has {len(channels)} channels and {len(num_layers)} num_layers; give one of each per group"
            )
        shrinks = 2 ** len(channels)
        super().__init__(input_shape, num_classes, minimum_input=(shrinks,))
        self.skip = skip
        self.groups = nn.ModuleList()
        inputs = input_shape.channels
        for number, (outputs, depth) in enumerate(zip(channels, num_layers)):
            self.groups.append(nn.Sequential(*convolutions(nn.Conv1d, inputs, outputs, depth, kernel_size)))
            inputs = outputs + inputs if skip and number else outputs
        self.pool = nn.MaxPool1d(2)
        self.embedding = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(inputs * (input_shape.dims[1] // shrinks), hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
        )
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Compute the activations of the linear layer."""
        for number, group in enumerate(self.groups):
            y = group(x)
            # The first group has no group before it, only the waveform, and so no skip connection.
            x = self.pool(torch.cat([y, x], dim=1) if self.skip and number else y)
        return self.embedding(x)
