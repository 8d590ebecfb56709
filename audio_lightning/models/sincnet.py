"""SincNet: learned band-pass filters on the raw waveform."""

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
"""Lower edge of the first band in hertz, before LEAST_HZ is added."""
LEAST_HZ = 50.0
"""Minimum of the lower edge and of the width of a band in hertz."""


class SincNet(AudioModel):
    """SincNet (Ravanelli and Bengio 2018, arXiv 1808.00158): a bank of band-pass filters, convolutions, a linear layer.

    The filters and each convolution are followed by max-pooling by 3, layer normalization and leaky ReLU. The published
    network flattens chunks of 200 ms for its linear layers. Here, the output is pooled to a few frames first, so that a
    clip may have any length and the linear layer stays small.

    Args:
        input_shape: shape of the waveform; all of its channels pass through the same filters.
        num_classes: number of logits.
        filters: number of band-pass filters.
        filter_size: length of a filter in samples; even numbers are increased by one.
        channels: number of channels of each convolution after the filters.
        kernel_size: kernel size of those convolutions.
        pooled: number of frames after the pooling before the linear layer.
        hidden_dim: width of the linear layer, whose output is the embedding.
        dropout: dropout probability of the embedding.
        sample_rate: rate of the waveform in hertz, which determines the initial bands.

    Raises:
        IncompatibleInput: the input is not a waveform, or is too short for the convolutions.
        ConfigError: a sample rate too low for the bands.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.sincnet import SincNet
        >>> model = SincNet(FeatureShape("waveform", (1, 8000)), num_classes=10, filters=20)
        >>> model(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 10])
        >>> low, high = model.filters.edges()  # Hz
        >>> bool((low < high).all())
        True
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
            raise ConfigError(
                f"sincnet needs a sample_rate above {lowest:g} Hz, got {sample_rate}; use a higher data.sample_rate"
            )
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
        """Compute the activations of the linear layer."""
        # The absolute value, because the energy in a band matters and its phase does not.
        bands = functional.max_pool1d(self.filters(x).abs(), POOL)
        return self.embedding(self.convolutions(functional.leaky_relu(self.norm(bands), 0.2)))


class SincFilters(nn.Module):
    """Band-pass filters with learned edges, initially equally spaced on the mel scale.

    Args:
        filters: number of filters.
        size: length of a filter in samples, an odd number.
        sample_rate: rate of the input in hertz.

    Attributes:
        low_hz: lower edge of each band in hertz, without the minimum ``LEAST_HZ``, ``[filters]``.
        band_hz: width of each band in hertz, without the minimum ``LEAST_HZ``, ``[filters]``.
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
        # The filters are symmetric: only the left half is computed, from -(size - 1) / 2 to -1 samples.
        half = size // 2
        place = torch.linspace(0, size / 2 - 1, half)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * place / size), persistent=False)
        time = 2 * math.pi * torch.arange(-half, 0, dtype=torch.float32) / sample_rate
        self.register_buffer("time", time, persistent=False)

    def edges(self) -> tuple[Float[Tensor, "filters"], Float[Tensor, "filters"]]:
        """Compute the lower and upper edge of every band in hertz."""
        low = LEAST_HZ + self.low_hz.abs()
        high = (low + LEAST_HZ + self.band_hz.abs()).clamp(LEAST_HZ, self.sample_rate / 2)
        return low, high

    def kernels(self) -> Float[Tensor, "filters size"]:
        """Compute the impulse responses: differences of two sinc functions under a Hamming window, 1 in the middle."""
        low, high = (edge[:, None] for edge in self.edges())
        band = high - low
        left = (torch.sin(high * self.time) - torch.sin(low * self.time)) / (self.time / 2) * self.window
        return torch.cat([left, 2 * band, left.flip(1)], dim=1) / (2 * band)

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch filtered time"]:
        """Filter every channel, without padding; ``filtered`` is channels times filters."""
        channels = x.shape[1]
        return functional.conv1d(x, self.kernels()[:, None].repeat(channels, 1, 1), groups=channels)


def _block(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel_size), nn.MaxPool1d(POOL), _layer_norm(outputs), nn.LeakyReLU(0.2)
    )


def _layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalization over channels and time with a scale for each channel, which works for any length."""
    return nn.GroupNorm(1, channels)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)
