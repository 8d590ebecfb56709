"""PANNs with other initial weights, which `ablation.py` compares with."""

import torch
from torch import nn

from audio_lightning.models.panns import PANNs


class DiracPANNs(PANNs):
    """PANNs whose convolutions between as many channels begin as the identity (Zagoruyko and Komodakis 2017)."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
                nn.init.dirac_(layer.weight)


class OrthogonalPANNs(PANNs):
    """PANNs with orthogonal convolutions (Saxe et al. 2014)."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, gain=nn.init.calculate_gain("relu"))


class WhitenedPANNs(PANNs):
    """PANNs whose first convolution never changes: it has the cosine patterns of 3x3 patches, as airbench's has theirs.

    On natural spectrograms, cosine patterns are close to the principal components of patches, which airbench (Jordan
    2024, arXiv 2404.00498) computes from the training data.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        first = next(layer for layer in self.modules() if isinstance(layer, nn.Conv2d))
        steps = torch.arange(3.0)
        waves = torch.stack([torch.cos(torch.pi * order * (steps + 0.5) / 3) for order in range(3)])
        patterns = torch.einsum("ax,by->abxy", waves, waves).flatten(0, 1)
        patterns = patterns / patterns.flatten(1).norm(dim=1)[:, None, None]
        both = torch.cat([patterns, -patterns])  # the ReLU keeps one sign
        with torch.no_grad():
            count = min(len(both), first.out_channels)
            first.weight[:count] = both[:count, None]
        first.weight.requires_grad_(False)
