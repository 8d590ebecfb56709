"""Layers and functions shared by networks on patches of a spectrogram."""

from collections.abc import Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention; submodules are named like the published tensors, in timm's notation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Compute attention of each token to all tokens."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return self.proj(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with GELU between them; submodules are named like the published tensors, in timm's notation."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Apply both layers to each token."""
        return self.fc2(functional.gelu(self.fc1(x)))


def numbered_layers(depth: int, width: int) -> Mapping[str, int]:
    """Number of channels of ``layer0``, the input of a transformer's first layer, and of the outputs of its layers."""
    return MappingProxyType({f"layer{number}": width for number in range(depth + 1)})


def over_time(tokens: Float[Tensor, "batch tokens width"], rows: int) -> Float[Tensor, "batch width columns"]:
    """Average the tokens of patches, ordered by columns, over the rows (frequencies) of each column."""
    return tokens.unflatten(1, (-1, rows)).mean(2).mT
