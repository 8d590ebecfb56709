"""Keyword transformer (KWT): a pure self-attention network on the frames of a spectrogram."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.checks import require_choice
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

HEAD_DIM = 64
DEPTH = 12


class KWT(AudioModel):
    """Keyword transformer: KWT-1, -2 and -3 (Berg et al. 2021, arXiv 2104.00769).

    Each frame is a token. A class token is prepended; its output is the embedding. The learned positions are
    interpolated if a clip has another number of frames.

    Args:
        input_shape: shape of the spectrogram; in the paper 40 MFCCs of 30 ms windows every 10 ms, 98 frames.
        num_classes: number of logits.
        size: 1, 2 or 3: number of attention heads in each of the 12 layers; a head has 64 channels.
        dropout: dropout probability after each linear layer; 0 in the paper.

    Raises:
        IncompatibleInput: the input is not a spectrogram.
        ConfigError: unknown size.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.kwt import KWT
        >>> model = KWT(FeatureShape("spectrogram", (1, 40, 98)), num_classes=12)
        >>> model(torch.randn(2, 1, 40, 98)).shape
        torch.Size([2, 12])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, size: Literal[1, 2, 3] = 1, dropout: float = 0.0
    ) -> None:
        super().__init__(input_shape, num_classes)
        require_choice("size", size, (1, 2, 3))
        channels, bins, frames = input_shape.dims
        width = HEAD_DIM * size
        self.project = nn.Linear(channels * bins, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.class_position = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, width, frames))
        self.layers = nn.Sequential(*(_Layer(width, size, dropout) for _ in range(DEPTH)))
        self.embedding_dim = width
        self.head = nn.Linear(width, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Return the class token after the last layer."""
        positions: Tensor = self.positions
        if x.shape[-1] != positions.shape[-1]:
            positions = functional.interpolate(positions, x.shape[-1], mode="linear", align_corners=False)
        tokens = self.project(x.flatten(1, 2).mT) + positions.mT
        first = (self.class_token + self.class_position).expand(x.shape[0], -1, -1)
        return self.layers(torch.cat([first, tokens], dim=1))[:, 0]


class _Layer(nn.Module):
    """Post-norm transformer layer: attention and MLP, each added to its input and then normalized."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )
        self.perceptron_norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        x = self.attention_norm(x + functional.dropout(self.attend(x), self.dropout, self.training))
        return self.perceptron_norm(x + self.perceptron(x))

    def attend(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        query, key, value = self.query_key_value(x).unflatten(-1, (3, self.heads, HEAD_DIM)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(2))
