"""EfficientAT: small convolutional networks, distilled from transformers on AudioSet."""

import math
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.ops import Conv2dNormActivation

from audio_lightning.features.filters import KaldiFilters
from audio_lightning.features.stft import FrameSettings, PowerSpectrogram
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors, read_tensors
from audio_lightning.models.pretrained.published_files import PublishedFile

RATE, WINDOW, N_FFT, HOP, BANDS = 32_000, 800, 1024, 320, 128

HIGHEST_HERTZ = 15_000
"""Upper edge of the highest band in hertz. In the published training it varied by up to 1 kHz from batch to batch."""

PREEMPHASIS = 0.97

POWER_OFFSET, LOG_OFFSET, LOG_RANGE = 1e-5, 4.5, 5

RELEASE = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/"

BLOCKS = (
    (16, 3, 16, 16, False, "RE", 1),
    (16, 3, 64, 24, False, "RE", 2),
    (24, 3, 72, 24, False, "RE", 1),
    (24, 5, 72, 40, True, "RE", 2),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 3, 240, 80, False, "HS", 2),
    (80, 3, 200, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 480, 112, True, "HS", 1),
    (112, 3, 672, 112, True, "HS", 1),
    (112, 5, 672, 160, True, "HS", 2),
    (160, 5, 960, 160, True, "HS", 1),
    (160, 5, 960, 160, True, "HS", 1),
)
"""Blocks of MobileNetV3-Large (Howard et al. 2019, arXiv 1905.02244) for a width of 1.

Number of input channels, kernel size, number of expanded channels, number of output channels, whether there is
squeeze-and-excitation, activation (ReLU or hard swish), stride.
"""

LAST_CHANNELS = 6
"""Number of output channels of the last convolution for each of its input channels."""

STAGES: Mapping[int, str] = MappingProxyType({n: f"block{n}" for n in (5, 11, 13, 15)} | {len(BLOCKS) + 1: "embedding"})
"""Names of the layers that are returned, by their position after the first convolution.

They are the blocks that the authors' HEAR wrappers return.
"""

normalization = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
convolution = partial(Conv2dNormActivation, norm_layer=normalization, activation_layer=nn.Hardswish)


def channels(width: float) -> dict[str, int]:
    """Number of channels of each layer, for a multiple of the usual width."""
    adjusted = [InvertedResidualConfig.adjust_channels(block[3], width) for block in BLOCKS]
    return {name: adjusted[n - 1] if n <= len(BLOCKS) else LAST_CHANNELS * adjusted[-1] for n, name in STAGES.items()}


class Spectrogram(nn.Module):
    """Log-mel spectrogram with 128 bands up to 15 kHz, [batch, time] to [batch, bands, frames], centred near zero.

    For sounds of 32 kHz: pre-emphasis of 0.97, symmetric Hann windows of 800 samples every 320, transforms of 1,024
    samples, and Kaldi's triangular filters, some of the lowest empty. The clip is padded by reflection.

    Args:
        sample_rate: rate of the waveforms in hertz; see :class:`Backbone`.
    """

    weights: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        window, n_fft = (2 * round(length / 2 * sample_rate / RATE) for length in (WINDOW, N_FFT))
        self.power = PowerSpectrogram(sample_rate, FrameSettings(window / sample_rate, HOP / RATE, n_fft), center=False)
        self.power.window = torch.hann_window(window, periodic=False)
        with torch.device("cpu"):  # the values are needed even when modules are built on the meta device
            weights = (WINDOW / window) ** 2 * band_weights(sample_rate, n_fft)
        self.register_buffer("weights", weights.to(self.power.window.device), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bands frames"]:
        """Compute frames centred on all multiples of the hop."""
        # Power spectra overflow float16. Autocast does not support the meta device.
        with full_precision(waveform):
            waveform = waveform.float()
            emphasized = waveform[:, 1:] - PREEMPHASIS * waveform[:, :-1]
            half, hop = len(self.power.window) // 2, self.power.hop_length
            whole = functional.pad(emphasized, (half, half), mode="reflect")
            frames = self.power(whole[:, : 2 * half + emphasized.shape[-1] // hop * hop])
            return ((self.weights @ frames + POWER_OFFSET).log() + LOG_OFFSET) / LOG_RANGE


def band_weights(sample_rate: int, n_fft: int) -> Float[Tensor, "bands frequencies"]:
    """Weights of frequencies in Kaldi's mel bands, corrected for the different pre-emphasis at another sample rate.

    Args:
        sample_rate: rate of the pre-emphasized sound in hertz.
        n_fft: length of the transform.
    """
    # The filters are computed for a multiple of the rate, so that bands above half the rate exist; they stay empty.
    repeats = math.ceil(2 * HIGHEST_HERTZ / sample_rate)
    filters = KaldiFilters(repeats * sample_rate, BANDS, 0, HIGHEST_HERTZ).weights(repeats * n_fft)
    hertz = sample_rate / n_fft * torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    gains = [1 + PREEMPHASIS**2 - 2 * PREEMPHASIS * (2 * math.pi * hertz / rate).cos() for rate in (RATE, sample_rate)]
    return filters[: len(hertz)].T * (gains[0] / gains[1]).float()


class EfficientAT(Backbone):
    """Base class of EfficientAT's networks: spectrogram, and order of the blocks.

    Layers are named after the blocks, counted from 1. The mean of ``embedding`` over time is the published embedding
    (``layers=last pooling=mean``). The classifier of AudioSet is omitted.

    Attributes:
        width: factor of the number of channels of each layer.
    """

    trained_rate = RATE
    least_seconds = (N_FFT // 2 + 2) / RATE
    licence = "MIT"
    width: ClassVar[float]
    file: PublishedFile
    network: nn.Module

    def __init__(self, sample_rate: int = RATE) -> None:
        super().__init__(sample_rate)
        self.spectrogram = Spectrogram(sample_rate)
        blocks = [InvertedResidualConfig(*block, dilation=1, width_mult=self.width) for block in BLOCKS]
        last = blocks[-1].out_channels
        self.network = self.assemble(
            convolution(1, blocks[0].input_channels, kernel_size=3, stride=2),
            [self.block(block) for block in blocks],
            convolution(last, LAST_CHANNELS * last, kernel_size=1),
        )

    @abstractmethod
    def block(self, block: InvertedResidualConfig) -> nn.Module:
        """Build one block."""

    @abstractmethod
    def assemble(self, first: nn.Module, blocks: Iterable[nn.Module], last: nn.Module) -> nn.Module:
        """Build a module that holds the parts under their published names."""

    @abstractmethod
    def parts(self) -> Iterable[nn.Module]:
        """Return the first convolution, the blocks and the last convolution."""

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of the selected layers, averaged over frequency."""
        x = self.spectrogram(waveform).unsqueeze(1)
        found: dict[str, Tensor] = {}
        for place, part in enumerate(self.parts()):
            x = part(x)
            if name := STAGES.get(place):
                found[name] = x.mean(2)
        return found

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        stored = read_tensors(self.file, self.title, self.spectrogram.weights.device)
        load_tensors(self.network, stored, self.file, self.title)


class MobileNet(EfficientAT):
    """MobileNetV3-Large, distilled from an ensemble of transformers (Schmid et al. 2023, arXiv 2211.04772).

    Unlike the original, its squeeze-and-excitation ends in a sigmoid, and its input has one channel.
    """

    citation = (
        "Schmid, F., Koutini, K., & Widmer, G. (2023). Efficient Large-Scale Audio Tagging via Transformer-to-CNN "
        "Knowledge Distillation. ICASSP, 1-5"
    )

    def block(self, block: InvertedResidualConfig) -> nn.Module:
        """Build torchvision's block with the squeeze-and-excitation of these networks."""
        return InvertedResidual(block, normalization, se_layer=_SqueezeExcitation)

    def assemble(self, first: nn.Module, blocks: Iterable[nn.Module], last: nn.Module) -> nn.Module:
        """Chain all parts; see :meth:`EfficientAT.assemble`."""
        return nn.Sequential(OrderedDict(features=nn.Sequential(first, *blocks, last)))

    def parts(self) -> Iterable[nn.Module]:
        """Return all parts; see :meth:`EfficientAT.parts`."""
        return self.network.get_submodule("features").children()


class _SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: gates of the channels from their means; named like the published tensors."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"fc1": nn.Linear(width, squeezed), "relu": nn.ReLU()}
        layers |= {"fc2": nn.Linear(squeezed, width), "sigmoid": nn.Sigmoid()}
        self.conc_se_layers = nn.Sequential(nn.Sequential(OrderedDict(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conc_se_layers(x.mean((2, 3)))[:, :, None, None]


class MN04(MobileNet):
    """mn04_as, 0.4 times as wide as MobileNetV3-Large."""

    title = "EfficientAT mn04_as"
    width = 0.4
    num_parameters = 516_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}mn04_as_mAP_432.pt", megabytes=4)


class MN05(MobileNet):
    """mn05_as, half as wide as MobileNetV3-Large."""

    title = "EfficientAT mn05_as"
    width = 0.5
    num_parameters = 786_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}mn05_as_mAP_443.pt", megabytes=6)


class MN10(MobileNet):
    """mn10_as, as wide as MobileNetV3-Large."""

    title = "EfficientAT mn10_as"
    width = 1.0
    num_parameters = 2_970_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}mn10_as_mAP_471.pt", megabytes=20)


class MN20(MobileNet):
    """mn20_as, twice as wide as MobileNetV3-Large."""

    title = "EfficientAT mn20_as"
    width = 2.0
    num_parameters = 11_640_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}mn20_as_mAP_478.pt", megabytes=72)


class MN40(MobileNet):
    """mn40_as, four times as wide as MobileNetV3-Large."""

    title = "EfficientAT mn40_as"
    width = 4.0
    num_parameters = 46_060_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}mn40_as_mAP_484.pt", megabytes=274)
