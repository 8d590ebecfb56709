"""Fully connected network on the raw waveform."""

from collections.abc import Sequence
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp


class DNN(AudioModel):
    """Hidden layers with ReLU on all samples of a clip at once; the baseline that knows nothing of sound.

    Args:
        input_shape: shape of the waveform.
        num_classes: number of logits.
        hidden_dims: widths of the hidden layers, from the input to the output.
        dropout: probability with which an activation of a hidden layer is dropped.

    Raises:
        IncompatibleInput: the input is no waveform.
    """

    input_kind = "waveform"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        hidden_dims: Sequence[int] = (256, 128),
        dropout: float = 0.2,
    ) -> None:
        super().__init__(input_shape, num_classes)
        layers, self.embedding_dim = mlp([prod(input_shape.dims), *hidden_dims], dropout)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Activations of the last hidden layer."""
        return self.layers(x)


class Probe(DNN):
    """A small network on what a published one makes of a clip (``feature=embedding``), which tells what that knows.

    Args:
        input_shape: shape of the embedding.
        num_classes: number of logits.
        backbone: name of the published network, where it is not given as ``feature.backbone``; the feature, which is
            built first, takes it from here.
        hidden_dims: widths of the hidden layers, from the input to the output; none: logistic regression.
        dropout: probability with which an activation of a hidden layer is dropped.

    Raises:
        IncompatibleInput: the input is no waveform, and no embedding.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        backbone: str | None = None,
        hidden_dims: Sequence[int] = (256,),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(input_shape, num_classes, hidden_dims=hidden_dims, dropout=dropout)
