"""Deep convolutional network with wide kernels on spectrograms, in the manner of VGG."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import convolutions


class Conv2DVGG(AudioModel):
    """Groups of convolutions with ReLU, each followed by max-pooling by 2, then a linear layer.

    Args:
        input_shape: shape of the spectrogram; each group halves its bins and frames.
        num_classes: number of logits.
        channels: channels of the groups, as many as there are groups.
        num_layers: number of convolutions in each group.
        kernel_size: bins and frames that a convolution sees, an odd number.
        hidden_dim: width of the linear layer, which is the embedding.
        dropout: probability with which an activation is dropped before the linear layer.

    Raises:
        IncompatibleInput: the input is no spectrogram, or too little is left of it for the kernels of the last group.
        ConfigError: not as many numbers of layers as of channels.
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
                f"conv2dvgg has {len(channels)} channels and {len(num_layers)} num_layers: give one of each a group"
            )
        shrinks = 2 ** len(channels)
        # On less, outer parts of the last kernels never meet the picture, and as their gradient in bfloat16 on a CPU,
        # PyTorch 2.11 gives back whatever was in memory.
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
        """Activations of the hidden linear layer."""
        return self.embedding(self.groups(x))
