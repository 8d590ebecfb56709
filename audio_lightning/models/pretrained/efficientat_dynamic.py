"""Dynamic networks of EfficientAT: their kernels and activations depend on the input."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from audio_lightning.models.pretrained.efficientat import RELEASE, EfficientAT, channels, normalization
from audio_lightning.models.pretrained.published_files import PublishedFile

KERNELS = 4
"""Number of kernels that a dynamic convolution mixes."""

LEAST_CONTEXT, MOST_CONTEXT = 32, 128
"""Limits of the size of a block's context for a width of 1; in between, it is a quarter of the channels."""


class DynamicMobileNet(EfficientAT):
    """DyMN, distilled from an ensemble of transformers (Schmid et al. 2024, arXiv 2310.15648).

    Each block computes a context from the whole clip. The context mixes the kernels of the convolutions, sets the
    slopes of the activation, and weights frequencies and frames. The temperature of the mixture is 1, its value at the
    end of the published training.
    """

    citation = (
        "Schmid, F., Koutini, K., & Widmer, G. (2024). Dynamic Convolutional Neural Networks as Efficient Pre-Trained "
        "Audio Models. IEEE/ACM Transactions on Audio, Speech, and Language Processing, 32, 2227-2241"
    )

    def block(self, block: InvertedResidualConfig) -> nn.Module:
        """Build a dynamic block, also for blocks without squeeze-and-excitation."""
        return _Block(block, self.width)

    def assemble(self, first: nn.Module, blocks: Iterable[nn.Module], last: nn.Module) -> nn.Module:
        """Keep the blocks in a list of their own; see :meth:`EfficientAT.assemble`."""
        return nn.Sequential(OrderedDict(in_c=first, layers=nn.Sequential(*blocks), out_c=last))

    def parts(self) -> Iterable[nn.Module]:
        """Return all parts; see :meth:`EfficientAT.parts`."""
        first, blocks, last = self.network.children()
        return [first, *blocks.children(), last]


class _Block(nn.Module):
    """Dynamic inverted residual block; here and below, submodules are named like the published tensors.

    Args:
        block: channels, kernel size and stride.
        width: width of the network.
    """

    def __init__(self, block: InvertedResidualConfig, width: float) -> None:
        super().__init__()
        entering, between, leaving = block.input_channels, block.expanded_channels, block.out_channels
        adjusted = InvertedResidualConfig.adjust_channels
        least, most = adjusted(LEAST_CONTEXT, width), adjusted(MOST_CONTEXT, width)
        context = min(max(adjusted(between // 4, 1), least), most)
        self.is_residual = block.stride == 1 and entering == leaving
        self.expands = entering != between
        if self.expands:
            self.exp_conv = _MixedConvolution(entering, between, context)
            self.exp_norm = normalization(between)
            self.exp_act = nn.Hardswish() if block.use_hs else nn.ReLU()
        self.depth_conv = _MixedConvolution(
            between, between, context, kernel=block.kernel, stride=block.stride, groups=between
        )
        self.depth_norm = normalization(between)
        self.depth_act = _BentReLU(between, context)
        self.proj_conv = _MixedConvolution(between, leaving, context)
        self.proj_norm = normalization(leaving)
        self.context_gen = _Context(entering, between, context, block.stride)

    def forward(self, inputs: Tensor) -> Tensor:
        context, frequencies, times = self.context_gen(inputs)
        x = inputs
        if self.expands:
            x = self.exp_act(self.exp_norm(self.exp_conv(x, context)))
        x = self.depth_act(self.depth_norm(self.depth_conv(x, context)), context)
        x = self.proj_norm(self.proj_conv(x * frequencies * times, context))
        return x + inputs if self.is_residual else x


class _Context(nn.Module):
    """Context of a block: summary of the whole clip, and gates of frequencies and frames (coordinate attention)."""

    def __init__(self, inputs: int, outputs: int, context: int, stride: int) -> None:
        super().__init__()
        self.joint_conv = nn.Conv2d(inputs, context, 1, bias=False)
        self.joint_norm = normalization(context)
        self.conv_f, self.conv_t = nn.Conv2d(context, outputs, 1), nn.Conv2d(context, outputs, 1)
        self.pool = nn.AvgPool2d((3, 1), (stride, 1), (1, 0)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute context [batch, values] and gates, [batch, channels, bands, 1] and [batch, channels, 1, frames]."""
        lines = torch.cat([x.mean(3, keepdim=True), x.mean(2).unsqueeze(3)], dim=2)
        joint = functional.hardswish(self.joint_norm(self.joint_conv(lines)))
        frequencies, times = (self.pool(line) for line in joint.split(list(x.shape[2:]), dim=2))
        return joint.mean((2, 3)), self.conv_f(frequencies).sigmoid(), self.conv_t(times).sigmoid().mT


class _MixedConvolution(nn.Module):
    """Dynamic convolution: for each clip, the kernel is a mixture of several learned ones."""

    def __init__(
        self, inputs: int, outputs: int, context: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.shape = (outputs, inputs // groups, kernel, kernel)
        self.stride, self.padding, self.groups = stride, kernel // 2, groups
        self.residuals = nn.Sequential(nn.Linear(context, KERNELS))
        self.weight = nn.Parameter(torch.empty(1, 1, KERNELS, math.prod(self.shape)))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (outputs * kernel**2)))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        mixed = self.residuals(context).softmax(1) @ self.weight[0, 0]
        # One grouped convolution for all clips, with separate groups for each.
        together = functional.conv2d(
            x.reshape(1, -1, *x.shape[2:]),
            mixed.reshape(-1, *self.shape[1:]),
            stride=self.stride,
            padding=self.padding,
            groups=x.shape[0] * self.groups,
        )
        return together.reshape(x.shape[0], -1, *together.shape[2:])


class _BentReLU(nn.Module):
    """DyReLU-B (Chen et al. 2020): the maximum of two linear functions, for each channel of each clip."""

    lambdas: Tensor
    init_v: Tensor

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.coef_net = nn.Sequential(nn.Linear(context, 4 * width))
        self.register_buffer("lambdas", torch.tensor([1.0, 1.0, 0.5, 0.5]))
        self.register_buffer("init_v", torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        bends = 2 * self.coef_net(context).sigmoid() - 1
        lines = bends.view(x.shape[0], -1, 1, 1, 4) * self.lambdas + self.init_v
        slope, other_slope, height, other_height = lines.unbind(-1)
        return torch.maximum(x * slope + height, x * other_slope + other_height)


class DyMN04(DynamicMobileNet):
    """dymn04_as, 0.4 times as wide as MobileNetV3-Large."""

    title = "EfficientAT dymn04_as"
    width = 0.4
    num_parameters = 1_490_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}dymn04_as.pt", megabytes=8)


class DyMN10(DynamicMobileNet):
    """dymn10_as, as wide as MobileNetV3-Large."""

    title = "EfficientAT dymn10_as"
    width = 1.0
    num_parameters = 8_640_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}dymn10_as.pt", megabytes=43)


class DyMN20(DynamicMobileNet):
    """dymn20_as, twice as wide as MobileNetV3-Large."""

    title = "EfficientAT dymn20_as"
    width = 2.0
    num_parameters = 33_700_000
    layers: Mapping[str, int] = MappingProxyType(channels(width))
    file = PublishedFile(f"{RELEASE}dymn20_as_mAP_493.pt", megabytes=160)
