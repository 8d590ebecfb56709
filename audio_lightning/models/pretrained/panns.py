"""PANNs (pretrained audio neural networks) with their published weights, trained on AudioSet."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.features.filters import MelFilters
from audio_lightning.features.stft import Decibel, FrameSettings, PowerSpectrogram
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors, read_tensors
from audio_lightning.models.pretrained.published_files import PublishedFile

WINDOW_SECONDS, HOP_SECONDS, BANDS, F_MIN = 0.032, 0.01, 64, 50.0


def _published(name: str, megabytes: int, md5: str | None) -> PublishedFile:
    """Describe a file of the third version of the authors' record."""
    url = f"https://zenodo.org/records/3987831/files/{name.replace('=', '%3D')}?download=1"
    return PublishedFile(url, megabytes, checksum=md5 and f"md5:{md5}", name=name)


def _layers(widths: Sequence[int]) -> Mapping[str, int]:
    """Number of channels of each block, and of the embedding, which has as many as the last block."""
    return MappingProxyType({f"conv_block{n}": width for n, width in enumerate(widths, 1)} | {"embedding": widths[-1]})


class PANN(Backbone):
    """Base class of PANNs (Kong et al. 2020, arXiv 1912.10211), trained on AudioSet.

    Blocks of convolutions with batch normalization and ReLU; 2x2 average pooling after all of them, or all except the
    last. The input is the power in decibels in 64 bands of Hann windows of 32 ms every 10 ms, padded by reflection:
    triangles of equal area on Slaney's mel scale, each band with its own batch normalization. The published embedding
    is the last layer, which has one frame: the mean over the bands, the sum of its mean and maximum over time, and a
    linear layer with ReLU.

    At another sample rate, windows have the even number of samples nearest to 32 ms, and the hop is a whole number of
    samples. The classifier of the 527 classes is omitted. The published training also has SpecAugment and mixup; here
    they are options of ``augment``.

    Args:
        sample_rate: rate of the waveforms in hertz, see :class:`Backbone`; None for the rate of the training data.
        widths: number of channels of each block, for networks of other widths; None for the published ones.
        block_dropout: dropout probability after each block, in training.
        dropout: dropout probability before and after the linear layer, in training.

    Attributes:
        f_max: upper edge of the highest band in hertz.
        kernel: kernel size of the convolutions in bands and frames.
        convolutions: number of convolutions in a block.
        pools: number of blocks that are followed by pooling.
    """

    trained_rate = 32_000
    least_seconds = 16 * HOP_SECONDS
    layers: Mapping[str, int] = _layers((64, 128, 256, 512))
    licence = "CC BY 4.0"
    citation = (
        "Kong, Q., Cao, Y., Iqbal, T., Wang, Y., Wang, W., & Plumbley, M. D. (2020). PANNs: Large-Scale Pretrained "
        "Audio Neural Networks for Audio Pattern Recognition. IEEE/ACM Transactions on Audio, Speech, and Language "
        "Processing, 28, 2880-2894"
    )
    f_max: ClassVar[float] = 14_000
    kernel: ClassVar[int] = 3
    convolutions: ClassVar[int] = 2
    pools: ClassVar[int] = 4

    weights: Tensor

    def __init__(
        self,
        sample_rate: int | None = None,
        *,
        widths: Sequence[int] | None = None,
        block_dropout: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(self.trained_rate if sample_rate is None else sample_rate)
        if widths is not None:
            self.layers = _layers(widths)
        window = 2 * round(WINDOW_SECONDS / 2 * self.sample_rate)
        frames = FrameSettings(window / self.sample_rate, HOP_SECONDS, window)  # keeps the distance of frequencies
        self.power = PowerSpectrogram(self.sample_rate, frames, center=False)
        self.decibel = Decibel(None)
        weights = self._band_weights(window).to(self.power.window.device)
        self.register_buffer("weights", weights, persistent=False)
        self.bn0 = nn.BatchNorm1d(BANDS)
        *names, last = self.layers
        for name, (inputs, outputs) in zip(names, pairwise((1, *map(self.layers.__getitem__, names)))):
            self.add_module(name, _Block(inputs, outputs, self.kernel, self.convolutions))
        self.fc1 = nn.Linear(self.layers[last], self.layers[last])
        self.block_dropout, self.dropout = nn.Dropout(block_dropout), nn.Dropout(dropout)

    def _band_weights(self, window: int) -> Float[Tensor, "bands frequencies"]:
        """Weights of the frequencies of a window in the bands of the published training, on the CPU.

        Bands above half the sample rate keep their width, and are empty.
        """
        times = 2 * math.ceil(self.f_max / self.sample_rate)  # even multiple of the rate, with half of it above f_max
        filters = MelFilters(times * self.sample_rate, BANDS, F_MIN, self.f_max, "slaney", "slaney")
        # At a lower rate, the window has fewer samples and so less power.
        level = (WINDOW_SECONDS * self.trained_rate / window) ** 2
        return (level * filters.weights(times * window)[: window // 2 + 1]).T.contiguous()

    def spectrogram(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bands frames"]:
        """Compute the level of each band in decibels, in frames centred on all multiples of the hop."""
        half, hop = self.power.n_fft // 2, self.power.hop_length
        mirrored = functional.pad(waveform, (half, half), mode="reflect")
        whole = mirrored[:, : 2 * half + waveform.shape[-1] // hop * hop]
        with full_precision(waveform):
            return self.decibel(self.weights @ self.power(whole))

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of the blocks, averaged over the bands, and the embedding of the clip."""
        x = self.bn0(self.spectrogram(waveform)).mT.unsqueeze(1)
        *names, last = self.layers
        found: dict[str, Tensor] = {}
        for name in names:
            x = self.get_submodule(name)(x)
            x = self.block_dropout(functional.avg_pool2d(x, 2) if len(found) < self.pools else x)
            found[name] = x.mean(3)
        pooled = found[names[-1]].amax(2) + found[names[-1]].mean(2)
        found[last] = self.dropout(functional.relu_(self.fc1(self.dropout(pooled)))).unsqueeze(2)
        return found

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        # Some files also hold the sampling order of clips, as arrays of NumPy 1.
        rebuild: Any = np.empty(0).__reduce__()[0]
        arrays: list[Any] = [
            (rebuild, "numpy.core.multiarray._reconstruct"),
            np.ndarray,
            np.dtype,
            np.dtypes.Int64DType,
        ]
        with torch.serialization.safe_globals(arrays):
            stored = read_tensors(self.file, self.title, self.weights.device)
        load_tensors(self, stored, self.file, self.title)


class CNN6(PANN):
    """CNN6, 4.6 million parameters: four blocks of one 5x5 convolution. See :class:`PANN`."""

    title = "CNN6 of PANNs"
    num_parameters = 4_570_000
    file = _published("Cnn6_mAP=0.343.pth", 24, "e25e26b84585b14c7754c91e48efc9be")
    kernel = 5
    convolutions = 1


class CNN10(PANN):
    """CNN10, 4.9 million parameters: four blocks of two 3x3 convolutions. See :class:`PANN`."""

    title = "CNN10 of PANNs"
    num_parameters = 4_950_000
    file = _published("Cnn10_mAP=0.380.pth", 25, "bfb1f1f9968938fa8ef4012b8471f5f6")


class CNN14(PANN):
    """CNN14, 80 million parameters: six blocks of two 3x3 convolutions. See :class:`PANN`."""

    title = "CNN14 of PANNs"
    num_parameters = 79_700_000
    least_seconds = 32 * HOP_SECONDS
    layers = _layers((64, 128, 256, 512, 1024, 2048))
    file = _published("Cnn14_mAP=0.431.pth", 327, "541141fa2ee191a88f24a3219fff024e")
    pools = 5


class CNN14At16kHz(CNN14):
    """CNN14 trained on sounds of 16 kHz, with bands up to 8 kHz. See :class:`PANN`."""

    title = "CNN14 of PANNs for 16 kHz"
    trained_rate = 16_000
    file = _published("Cnn14_16k_mAP=0.438.pth", 359, "362fc5ff18f1d6ad2f6d464b45893f2c")
    f_max = 8000


class CNN14At8kHz(CNN14):
    """CNN14 trained on sounds of 8 kHz, with bands up to 4 kHz. See :class:`PANN`."""

    title = "CNN14 of PANNs for 8 kHz"
    trained_rate = 8000
    file = _published("Cnn14_8k_mAP=0.416.pth", 358, None)
    f_max = 4000


class _Block(nn.Module):
    """Convolutions with batch normalization and ReLU; submodules are named like the published tensors."""

    def __init__(self, inputs: int, outputs: int, kernel: int, convolutions: int) -> None:
        super().__init__()
        self.steps = range(1, convolutions + 1)
        for n in self.steps:
            width = inputs if n == 1 else outputs
            self.add_module(f"conv{n}", nn.Conv2d(width, outputs, kernel, padding=kernel // 2, bias=False))
        for n in self.steps:
            self.add_module(f"bn{n}", nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "batch inputs frames bands"]) -> Float[Tensor, "batch outputs frames bands"]:
        """Apply the convolutions, which keep the size."""
        for n in self.steps:
            x = functional.relu_(self.get_submodule(f"bn{n}")(self.get_submodule(f"conv{n}")(x)))
        return x
