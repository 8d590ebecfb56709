"""What networks on patches of a spectrogram have in common."""

from collections.abc import Mapping
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention of tokens; the names are those of the published tensors, which are timm's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """What each token takes from all of them."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return self.proj(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with a GELU between them; the names are those of the published tensors, which are timm's."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """What each token makes of itself."""
        return self.fc2(functional.gelu(self.fc1(x)))


def numbered_layers(depth: int, width: int) -> Mapping[str, int]:
    """Channels of ``layer0``, which is what the first layer of a transformer gets, and of the layers behind it."""
    return MappingProxyType({f"layer{number}": width for number in range(depth + 1)})


def over_time(tokens: Float[Tensor, "batch tokens width"], rows: int) -> Float[Tensor, "batch width columns"]:
    """Tokens of patches, column by column, as the mean over the rows of each column, which are its frequencies."""
    return tokens.unflatten(1, (-1, rows)).mean(2).mT
