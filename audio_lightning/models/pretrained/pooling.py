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
    """Pool each layer over time (mean, maximum or both) and concatenate the layers.

    Args:
        found: layers by name.
        names: names of the layers to pool, in this order.
        pooling: ``mean``, ``max`` or ``mean_max``.
        sounding: for each layer, a mask of its frames that are not padding, at least one per clip; None if all count.
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
    """Attention pooling: the mean of each layer over time, with learned weights of the frames.

    Args:
        channels: number of channels of each layer, by name.
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.scores = nn.ModuleDict({name: nn.Conv1d(width, 1, 1) for name, width in channels.items()})

    def forward(
        self,
        found: Mapping[str, Float[Tensor, "batch channels frames"]],
        sounding: Mapping[str, Bool[Tensor, "batch frames"]] | None = None,
    ) -> Float[Tensor, "batch values"]:
        """Pool and concatenate the layers; see :func:`pool_layers`."""
        pooled = []
        for name, score in self.scores.items():
            scores = score(found[name])
            if sounding is not None:
                scores = scores.masked_fill(~sounding[name].unsqueeze(1), -torch.inf)
            pooled.append((found[name] * scores.softmax(2)).sum(2))
        return torch.cat(pooled, dim=1)
