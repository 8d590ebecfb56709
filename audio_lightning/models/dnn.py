"""Fully connected networks (multilayer perceptrons) on waveforms and embeddings."""

from collections.abc import Sequence
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp


class DNN(AudioModel):
    """Fully connected network with ReLU on all samples of a clip; a baseline without assumptions about sound.

    Args:
        input_shape: shape of the waveform.
        num_classes: number of logits.
        hidden_dims: widths of the hidden layers, from input to output.
        dropout: dropout probability after each hidden layer.

    Raises:
        IncompatibleInput: the input is not a waveform.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.dnn import DNN
        >>> model = DNN(FeatureShape("waveform", (1, 8000)), num_classes=10)
        >>> model(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 10])
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
        """Compute the activations of the last hidden layer."""
        return self.layers(x)


class Probe(DNN):
    """Probe: a small network on the embeddings of a published network (``feature=embedding``).

    Its accuracy measures how well the embeddings separate the classes.

    Args:
        input_shape: shape of the embedding.
        num_classes: number of logits.
        backbone: name of the published network, as a short form of ``feature.backbone``. The network itself does not
            use it; the configuration of the feature reads it from here.
        hidden_dims: widths of the hidden layers, from input to output; none for logistic regression.
        dropout: dropout probability after each hidden layer.

    Raises:
        IncompatibleInput: the input is neither a waveform nor an embedding.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.dnn import Probe
        >>> embedding = FeatureShape("waveform", (1, 512), is_sound=False)
        >>> model = Probe(embedding, num_classes=10, hidden_dims=[])  # logistic regression
        >>> model(torch.randn(2, 1, 512)).shape
        torch.Size([2, 10])
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
