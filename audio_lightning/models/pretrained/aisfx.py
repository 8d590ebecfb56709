"""aiSFX: a network trained to classify sound effects."""

import math
from collections.abc import Mapping
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.stft import FrameSettings, PowerSpectrogram
from audio_lightning.models.pretrained.backbone import Backbone, full_precision
from audio_lightning.models.pretrained.package_files import PackageFile

RATE, WINDOW, HOP, BANDS = 44_100, 2048, 1024, 96

GAIN = 0.5
"""Gain of the input: Essentia's loader attenuates recordings by 6 dB."""

LOUDEST = 9.457798957824707
"""Largest value of the spectrograms in the published training, by which all values are divided."""

WIDTHS = (64, 128, 256, 512)

PREFIX = "embedding_net."
"""Prefix of the names of the network's tensors; the heads, one for each library of sounds, have others."""


class AISFX(Backbone):
    """X-Sequential-CE of Ma & Lerch 2022, 4.7 million parameters, trained on libraries of sound effects.

    Four blocks of two 3x3 convolutions with batch normalization and ReLU; 2x2 max-pooling after the first three. The
    input is log10(1 + 10,000 p), divided by a constant, where p is the power in 96 bands of sounds of 44.1 kHz. The
    bands are triangles on the mel axis whose weights sum to 1; the Hann windows have 2,048 samples and overlap by half.
    The published embedding is the maximum over time of the last block (``layers=last pooling=max``).
    """

    title = "aiSFX"
    trained_rate = RATE
    num_parameters = 4_690_000
    least_seconds = 8 * HOP / RATE
    layers: Mapping[str, int] = MappingProxyType({f"conv_block{n}": w for n, w in enumerate(WIDTHS, 1)})
    file = PackageFile(
        package="aisfx",
        version="0.1.2",
        member="aisfx/models/checkpoint.pth",
        sha256="499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5",
        megabytes=23,
    )
    licence = "CC BY 4.0"
    citation = (
        "Ma, A. B., & Lerch, A. (2022). Representation Learning for the Automatic Indexing of Sound Effects Libraries. "
        "ISMIR, 866-875"
    )

    weights: Tensor

    def __init__(self, sample_rate: int = RATE) -> None:
        super().__init__(sample_rate)
        window = 2 * round(WINDOW / 2 * sample_rate / RATE)
        frames = FrameSettings(window / sample_rate, HOP / RATE, window)  # keeps the distance of frequencies
        self.power = PowerSpectrogram(sample_rate, frames)
        self.power.window = torch.hann_window(window, periodic=False)  # as in Essentia
        # At a lower rate, the window has fewer samples and so less power; above half the rate there is none.
        level = (GAIN * WINDOW / window) ** 2
        with torch.device("cpu"):  # the values are needed even when modules are built on the meta device
            weights = level * band_weights(sample_rate / window, window // 2 + 1)
        self.register_buffer("weights", weights.to(self.power.window.device), persistent=False)
        widths = (1, *WIDTHS)
        self.blocks = nn.ModuleDict({name: _Block(widths[n], widths[n + 1]) for n, name in enumerate(self.layers)})

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames bands"]:
        """Compute the input of the convolutions, with frames centred on all multiples of the hop."""
        whole = functional.pad(waveform, (0, -waveform.shape[-1] % self.power.hop_length))
        with full_precision(waveform):
            bands = self.weights @ self.power(whole)
            return (10_000 * bands + 1).log10_().div_(LOUDEST).mT

    def maps(self, spectrogram: Float[Tensor, "batch frames bands"]) -> dict[str, Tensor]:
        """Compute the output of each block, [batch, channels, frames, bands]."""
        x = spectrogram.unsqueeze(1)
        found: dict[str, Tensor] = {}
        for name, block in self.blocks.items():
            x = block(x)
            found[name] = x = functional.max_pool2d(x, 2) if len(found) < len(WIDTHS) - 1 else x
        return found

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Average the output of each block over the bands."""
        return {name: x.mean(3) for name, x in self.maps(self.spectrogram(waveform)).items()}

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        path = self.file.path()
        # The file also holds the number of classes of each library, as NumPy numbers.
        scalar: Any = np.int64(0).__reduce__()[0]
        numbers: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Int64DType]
        try:
            with torch.serialization.safe_globals(numbers):
                stored, _ = torch.load(path, map_location=self.weights.device, weights_only=True)
            state = {name.removeprefix(PREFIX): value for name, value in stored.items() if name.startswith(PREFIX)}
            self.blocks.load_state_dict(state)
        except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError, ValueError) as error:
            raise ConfigError(
                f"{path} contains no weights of {self.title}: {error!r:.200}; {self.file.remedy}"
            ) from error


def band_weights(spacing: float, frequencies: int) -> Float[Tensor, "bands frequencies"]:
    """Weights of frequencies in the bands of the published training, triangular over HTK's mel axis.

    They sum to 1 in each band, including those of frequencies above half the sample rate, which are not returned.

    Args:
        spacing: distance between two frequencies in hertz.
        frequencies: number of frequencies, starting at 0.
    """
    highest = max(frequencies, round(RATE / 2 / spacing) + 1)
    mel = 1127 * (1 + spacing * torch.arange(highest, dtype=torch.float64) / 700).log()
    edges = torch.linspace(0, 1127 * math.log(1 + RATE / 2 / 700), BANDS + 2, dtype=torch.float64)[:, None]
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-12)).float()[:, :frequencies]


class _Block(nn.Module):
    """Two convolutions; submodules are named like the published tensors."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.bn1(self.conv1(x)))
        return functional.relu_(self.bn2(self.conv2(x)))
