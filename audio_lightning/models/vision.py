"""Image networks of torchvision on spectrograms: another first convolution, another head, and published weights."""

from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model

from audio_lightning.core.checks import require_choice
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.vision_weights import Adapt, load_weights, weights_file

Pretrained: TypeAlias = bool | str | None


class VisionModel(AudioModel):
    """An image network of torchvision: its first convolution fits the input's channels, its classifier is gone.

    All pool the picture to a fixed size before the first linear layer, so that the length of a clip does not matter.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        name: torchvision's name of the network.
        stem: name of its first convolution.
        head: name of the layers from the embedding to the logits of ImageNet.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of that network.
        minimum_input: smallest bins and frames that the layers leave something of.
        adapt: see :func:`load_weights`.
        **options: for torchvision's constructor.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it.
        ConfigError: there is no such network; the weights cannot be had, or are none of it.
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        name: str,
        *,
        stem: str,
        head: str,
        pretrained: Pretrained,
        minimum_input: tuple[int, int] = (1, 1),
        adapt: Adapt | None = None,
        **options: Any,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=minimum_input)
        # What can fail comes first: a file that is missing shall not cost the time to initialize a large network.
        file = weights_file(name, pretrained) if pretrained else None
        network = get_model(name, weights=None, **options)
        network.set_submodule(stem, _first_convolution(network.get_submodule(stem), input_shape.channels))
        self.embedding_dim = _inputs(network.get_submodule(head))
        network.set_submodule(head, nn.Identity())
        if file is not None:
            load_weights(network, file, name, stem=stem, head=head, adapt=adapt)
        self.backbone = network
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """What the published network has before its last layer."""
        return self.backbone(x)


def _inputs(head: nn.Module) -> int:
    """Size of what a linear layer, or a list with one linear layer or convolution, takes."""
    sizes = [getattr(layer, "in_features", None) or getattr(layer, "in_channels", None) for layer in head.modules()]
    return int(next(size for size in sizes if size))


def _first_convolution(published: nn.Module, channels: int) -> nn.Conv2d:
    """The same convolution on another number of channels, initialized to keep the scale of its input (He et al.)."""
    assert isinstance(published, nn.Conv2d), "a network begins with a convolution"
    if channels == published.in_channels:
        return published
    sizes: dict[str, Any] = {key: getattr(published, key) for key in ("kernel_size", "stride", "padding")}
    made = nn.Conv2d(channels, published.out_channels, bias=published.bias is not None, **sizes)
    nn.init.kaiming_normal_(made.weight, nonlinearity="relu")
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


class AlexNet(VisionModel):
    """Five convolutions and three linear layers (Krizhevsky 2014, arXiv 1404.5997).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        dropout: probability with which an activation is dropped before the first two linear layers.
    """

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, dropout: float = 0.5, pretrained: Pretrained = None
    ) -> None:
        sizes: dict[str, Any] = {"stem": "features.0", "head": "classifier.6", "minimum_input": (63, 63)}
        super().__init__(input_shape, num_classes, "alexnet", pretrained=pretrained, dropout=dropout, **sizes)


class DenseNet(VisionModel):
    """Blocks in which each layer takes the outputs of all before it (Huang et al. 2016, arXiv 1608.06993).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``densenet121``.
        dropout: probability with which an activation is dropped at the end of each layer of a block.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[121, 161, 169, 201] = 121,
        dropout: float = 0.0,
        pretrained: Pretrained = None,
    ) -> None:
        sizes: dict[str, Any] = {"stem": "features.conv0", "head": "classifier", "minimum_input": (29, 29)}
        super().__init__(
            input_shape, num_classes, f"densenet{depth}", pretrained=pretrained, drop_rate=dropout, **sizes
        )


class EfficientNet(VisionModel):
    """Inverted residuals whose depth, width and picture grow together (Tan and Le 2019, arXiv 1905.11946).

    V2 (Tan and Le 2021, arXiv 2104.00298) has ordinary convolutions in its first stages, which train faster.

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        variant: as in ``efficientnet_b0``.
        dropout: probability with which a value of the embedding is dropped.
        stochastic_depth: probability with which the last block is skipped in training; those before it less.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        variant: Literal["b0", "b1", "b2", "v2_s"] = "b0",
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        pretrained: Pretrained = None,
    ) -> None:
        require_choice("variant", variant, ("b0", "b1", "b2", "v2_s"))
        super().__init__(
            input_shape,
            num_classes,
            f"efficientnet_{variant}",
            stem="features.0.0",
            head="classifier.1",
            pretrained=pretrained,
            dropout=dropout,
            stochastic_depth_prob=stochastic_depth,
        )


class GoogLeNet(VisionModel):
    """Nine Inception modules (Szegedy et al. 2014, arXiv 1409.4842) with batch normalization, no auxiliary heads.

    Args:
        input_shape, num_classes: see :class:`VisionModel`.
        dropout: probability with which a value of the embedding is dropped.
        pretrained: see :class:`VisionModel`; auxiliary heads in a file are left out. Torchvision's own weights are made
            to see what those of its other networks see.
    """

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, dropout: float = 0.2, pretrained: Pretrained = None
    ) -> None:
        super().__init__(
            input_shape,
            num_classes,
            "googlenet",
            stem="conv1.conv",
            head="fc",
            pretrained=pretrained,
            minimum_input=(15, 15),
            adapt=_take_standard_pictures,
            dropout=dropout,
            aux_logits=False,
            init_weights=not pretrained,
        )


def _take_standard_pictures(state: dict[str, Tensor]) -> None:
    """Let weights for pictures from -1 to 1, which torchvision's are, see them with mean 0 and standard deviation 1.

    Torchvision itself scales and moves every picture (``transform_input``). Here the first convolution scales and the
    normalization behind it moves, which is the same but at the edges: padding is the mean of the picture, not its grey.
    """
    kernel = state["conv1.conv.weight"]
    mean, std = (torch.tensor(rgb, device=kernel.device) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    moved = (kernel.sum((2, 3)) * (2 * mean - 1)).sum(1)
    state["conv1.bn.running_mean"] = state["conv1.bn.running_mean"] - moved
    state["conv1.conv.weight"] = kernel * (2 * std)[:, None, None]


class MobileNet(VisionModel):
    """Inverted residuals of separable convolutions (V3, Howard et al. 2019, arXiv 1905.02244); light on a CPU.

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        variant: as in ``mobilenet_v3_small``.
        dropout: probability with which an activation is dropped before the last layer.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        variant: Literal["v3_small", "v3_large"] = "v3_small",
        dropout: float = 0.2,
        pretrained: Pretrained = None,
    ) -> None:
        require_choice("variant", variant, ("v3_small", "v3_large"))
        super().__init__(
            input_shape,
            num_classes,
            f"mobilenet_{variant}",
            stem="features.0.0",
            head="classifier.3",
            pretrained=pretrained,
            dropout=dropout,
            # The published momentum, 0.01, is for a million steps: in a short training, evaluation would lag behind.
            norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=0.1),
        )


class ResNet(VisionModel):
    """Residual network as published (He et al. 2015, arXiv 1512.03385).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``resnet18``.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[18, 34, 50] = 18,
        pretrained: Pretrained = None,
    ) -> None:
        require_choice("depth", depth, (18, 34, 50))
        super().__init__(input_shape, num_classes, f"resnet{depth}", stem="conv1", head="fc", pretrained=pretrained)


class SqueezeNet(VisionModel):
    """Fire modules: few channels squeezed out of many, and expanded again (Iandola et al. 2016, arXiv 1602.07360).

    The published head is a 1x1 convolution, ReLU and the mean over the picture. Without the ReLU, which would let no
    logit be negative and a class die, the mean may come first: here it gives the embedding, and the head is a linear
    layer with the same weights.

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        version: 1.0 as in the paper, or 1.1, as good with less than half the operations.
        dropout: probability with which a value of the embedding is dropped.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        version: float = 1.1,
        dropout: float = 0.5,
        pretrained: Pretrained = None,
    ) -> None:
        require_choice("version", version, (1.0, 1.1))
        least = 21 if version == 1.0 else 17
        sizes: dict[str, Any] = {"stem": "features.0", "head": "classifier", "minimum_input": (least, least)}
        name = f"squeezenet{version:.1f}".replace(".", "_")
        super().__init__(input_shape, num_classes, name, pretrained=pretrained, **sizes)
        self.backbone.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout))


class VGG(VisionModel):
    """Groups of 3x3 convolutions and three linear layers (Simonyan and Zisserman 2014, arXiv 1409.1556).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``vgg16`` and, with ``batch_norm``, in ``vgg16_bn``.
        batch_norm: whether each convolution is followed by batch normalization; without it, as published, the network
            hardly learns from random weights.
        dropout: probability with which an activation is dropped after the first two linear layers.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[11, 13, 16, 19] = 16,
        batch_norm: bool = False,
        dropout: float = 0.5,
        pretrained: Pretrained = None,
    ) -> None:
        sizes: dict[str, Any] = {"stem": "features.0", "head": "classifier.6", "minimum_input": (32, 32)}
        name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
        super().__init__(input_shape, num_classes, name, pretrained=pretrained, dropout=dropout, **sizes)
