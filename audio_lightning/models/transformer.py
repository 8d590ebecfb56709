"""Transformer encoder on the frames of a spectrogram, trained from scratch."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import transformer_encoder


class Transformer(AudioModel):
    """Transformer encoder (Vaswani et al. 2017, arXiv 1706.03762), with pre-norm layers, which train without warm-up.

    A convolution over time turns the frames into tokens. Positions are sinusoidal, so that clips may have any length.
    The embedding is the mean of the tokens after the last layer.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        embed_dim: size of a token.
        num_layers: number of layers.
        num_heads: attention heads of a layer.
        stride: frames from one token to the next; the cost of attention is quadratic in the number of tokens.
        dropout: dropout probability.

    Raises:
        IncompatibleInput: the input is not a spectrogram.
        ConfigError: ``embed_dim`` is odd or not a multiple of ``num_heads``.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.transformer import Transformer
        >>> model = Transformer(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10, num_layers=1)
        >>> model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        embed_dim: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        stride: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(input_shape, num_classes)
        if embed_dim % num_heads or embed_dim % 2:
            raise ConfigError(
                f"transformer needs an even embed_dim that num_heads divides, got {embed_dim} and {num_heads}; "
                "use embed_dim=128 and num_heads=4, for example"
            )
        bins = input_shape.channels * input_shape.dims[1]
        self.tokens = nn.Conv1d(bins, embed_dim, kernel_size=2 * stride + 1, stride=stride, padding=stride)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *transformer_encoder(num_layers, embed_dim, num_heads, dim_feedforward=4 * embed_dim, dropout=dropout),
            nn.LayerNorm(embed_dim),
        )
        self.embedding_dim = embed_dim
        self.head = nn.Linear(embed_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Average the tokens over time."""
        tokens = self.tokens(x.flatten(1, 2)).mT
        return self.layers(self.dropout(tokens + sinusoids(*tokens.shape[1:], like=tokens))).mean(1)


def sinusoids(length: int, width: int, *, like: Tensor) -> Float[Tensor, "length width"]:
    """Compute sinusoidal positions: sines in even, cosines in odd channels, wavelengths 2 pi to 20,000 pi positions."""
    position = torch.arange(length, device=like.device, dtype=torch.float32)
    frequency = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000) / width))
    angle = position[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)
