"""Linear classifier (multinomial logistic regression) on waveforms and embeddings."""

from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel


class Linear(AudioModel):
    """Logistic regression on all values of a clip: one linear layer, without hidden layers.

    Args:
        input_shape: shape of the waveform, or of the embedding.
        num_classes: number of logits.

    Raises:
        IncompatibleInput: the input is neither a waveform nor an embedding.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.linear import Linear
        >>> model = Linear(FeatureShape("waveform", (1, 512), is_sound=False), num_classes=10)
        >>> model(torch.randn(2, 1, 512)).shape
        torch.Size([2, 10])
    """

    input_kind = "waveform"

    def __init__(self, input_shape: FeatureShape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.embedding_dim = prod(input_shape.dims)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Flatten the input."""
        return x.flatten(1)
