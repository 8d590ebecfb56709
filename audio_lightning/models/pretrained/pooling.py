"""Pooling of layers over time."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Pooling = Literal["mean", "max", "mean_max"]

POOLINGS: tuple[Pooling, ...] = ("mean", "max", "mean_max")


def pool_layers(
    found: Mapping[str, Float[Tensor, "batch channels frames"]],
    names: Iterable[str],
    pooling: Pooling,
    sounding: Mapping[str, Bool[Tensor, "batch frames"]] | None = None,
) -> Float[Tensor, "batch values"]:
    """The mean over time of each layer, its maximum, or both, one layer behind the other.

    Args:
        found: layers by name.
        names: of the layers to pool, in this order.
        pooling: ``mean``, ``max`` or ``mean_max``.
        sounding: by layer, the frames that count, at least one for each clip; None: all frames count.
    """
    values = []
    for name in names:
        layer = found[name]
        counts = None if sounding is None else sounding[name].unsqueeze(1)
        if pooling != "max":
            values.append(layer.mean(2) if counts is None else (layer * counts).sum(2) / counts.sum(2))
        if pooling != "mean":
            values.append((layer if counts is None else layer.masked_fill(~counts, -torch.inf)).amax(2))
    return torch.cat(values, dim=1)


class AttentionPooling(nn.Module):
    """The mean over time of each layer, with a learned weight of every frame.

    Args:
        channels: of each layer, by name.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.scores = nn.ModuleDict({name: nn.Conv1d(width, 1, 1) for name, width in channels.items()})

    def forward(
        self,
        found: Mapping[str, Float[Tensor, "batch channels frames"]],
        sounding: Mapping[str, Bool[Tensor, "batch frames"]] | None = None,
    ) -> Float[Tensor, "batch values"]:
        """Pooled layers, one behind the other; see :func:`pool_layers`."""
        pooled = []
        for name, score in self.scores.items():
            scores = score(found[name])
            if sounding is not None:
                scores = scores.masked_fill(~sounding[name].unsqueeze(1), -torch.inf)
            pooled.append((found[name] * scores.softmax(2)).sum(2))
        return torch.cat(pooled, dim=1)
