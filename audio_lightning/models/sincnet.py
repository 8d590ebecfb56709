"""SincNet: band-pass filters with learned edges on the raw waveform."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

POOL = 3
LOWEST_HZ = 30.0
"""Lower edge of the first band before the least edge is added to it."""
LEAST_HZ = 50.0
"""Least lower edge of a band, and least width of one."""


class SincNet(AudioModel):
    """A bank of band-pass filters, convolutions, and one linear layer (Ravanelli and Bengio 2018, arXiv 1808.00158).

    Each of them is followed by max-pooling by 3, layer normalization and leaky ReLU. The published network gives its
    linear layers a chunk of 200 ms as it is; here it is pooled to a few frames before, so that a clip may have any
    length and those layers stay small.

    Args:
        input_shape: shape of the waveform; each of its channels goes through the same filters.
        num_classes: number of logits.
        filters: number of band-pass filters.
        filter_size: length of a filter in samples; an even number is made odd.
        channels: channels of the convolutions after the filters.
        kernel_size: length of those convolutions.
        pooled: number of frames that are left of the clip before the linear layer.
        hidden_dim: width of the linear layer, which is the embedding.
        dropout: probability with which an activation of the embedding is dropped.
        sample_rate: rate of the waveform in hertz, from which the bands are placed.

    Raises:
        IncompatibleInput: the input is no waveform, or nothing is left of it after the convolutions.
        ConfigError: a sample rate that leaves no room for bands.
    """

    input_kind = "waveform"
    needs_sound = True
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        filters: int = 80,
        filter_size: int = 251,
        channels: Sequence[int] = (60, 60),
        kernel_size: int = 5,
        pooled: int = 8,
        hidden_dim: int = 256,
        dropout: float = 0.2,
        sample_rate: int = 16000,
    ) -> None:
        lowest = 2 * (LOWEST_HZ + 2 * LEAST_HZ)
        if sample_rate <= lowest:
            raise ConfigError(f"sincnet needs a sample_rate of more than {lowest:g} Hz, got {sample_rate}")
        filter_size += 1 - filter_size % 2
        least = 1
        for size in (*(kernel_size for _ in channels), filter_size):
            least = least * POOL + size - 1
        super().__init__(input_shape, num_classes, minimum_input=(least,))
        self.filters = SincFilters(filters, filter_size, sample_rate)
        widths = [filters * input_shape.channels, *channels]
        self.norm = _layer_norm(widths[0])
        self.convolutions = nn.Sequential(
            *(_block(inputs, outputs, kernel_size) for inputs, outputs in pairwise(widths))
        )
        self.embedding = nn.Sequential(
            nn.AdaptiveAvgPool1d(pooled),
            nn.Flatten(),
            nn.Linear(widths[-1] * pooled, hidden_dim),
            nn.LayerNorm(hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
        )
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Activations of the linear layer."""
        # What counts is how much of a band there is, not the phase in which it is met.
        bands = functional.max_pool1d(self.filters(x).abs(), POOL)
        return self.embedding(self.convolutions(functional.leaky_relu(self.norm(bands), 0.2)))


class SincFilters(nn.Module):
    """Band-pass filters of which only the edges are learned, equally spaced in mel at the start.

    Args:
        filters: number of filters.
        size: their length in samples, an odd number.
        sample_rate: rate of what they filter, in hertz.

    Attributes:
        low_hz: lower edge of each band above the least one, ``[filters]``.
        band_hz: width of each band above the least one, ``[filters]``.
    """

    window: Tensor
    time: Tensor

    def __init__(self, filters: int, size: int, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        highest = _mel(sample_rate / 2 - 2 * LEAST_HZ)
        edges = _hertz(torch.linspace(_mel(LOWEST_HZ), highest, filters + 1, dtype=torch.float64))
        self.low_hz = nn.Parameter(edges[:-1].float())
        self.band_hz = nn.Parameter(edges.diff().float())
        # A filter is symmetric: only its left half is computed, from -(size - 1) / 2 to -1 samples.
        half = size // 2
        place = torch.linspace(0, size / 2 - 1, half)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * place / size), persistent=False)
        time = 2 * math.pi * torch.arange(-half, 0, dtype=torch.float32) / sample_rate
        self.register_buffer("time", time, persistent=False)

    def edges(self) -> tuple[Float[Tensor, "filters"], Float[Tensor, "filters"]]:
        """Lower and upper edge of every band in hertz."""
        low = LEAST_HZ + self.low_hz.abs()
        high = (low + LEAST_HZ + self.band_hz.abs()).clamp(LEAST_HZ, self.sample_rate / 2)
        return low, high

    def kernels(self) -> Float[Tensor, "filters size"]:
        """The filters in time: differences of two sinc functions under a Hamming window, 1 in the middle."""
        low, high = (edge[:, None] for edge in self.edges())
        band = high - low
        left = (torch.sin(high * self.time) - torch.sin(low * self.time)) / (self.time / 2) * self.window
        return torch.cat([left, 2 * band, left.flip(1)], dim=1) / (2 * band)

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch filtered time"]:
        """Every channel through every filter, without padding; ``filtered`` is channels times filters."""
        channels = x.shape[1]
        return functional.conv1d(x, self.kernels()[:, None].repeat(channels, 1, 1), groups=channels)


def _block(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel_size), nn.MaxPool1d(POOL), _layer_norm(outputs), nn.LeakyReLU(0.2)
    )


def _layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalization over channels and time, with a scale for each channel, so that any length will do."""
    return nn.GroupNorm(1, channels)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)
