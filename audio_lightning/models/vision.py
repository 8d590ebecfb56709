"""torchvision's image networks on spectrograms: new first convolution and head, optional weights of ImageNet."""

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
    """Base class of torchvision's image networks: the first convolution fits the input, the classifier is replaced.

    All of them pool to a fixed size before the first linear layer, so clips may have any length.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        name: torchvision's name of the network.
        stem: name of the first convolution.
        head: name of the layers from the embedding to the logits of ImageNet.
        pretrained: None, True for the weights of ImageNet, or a file with a state dict of that network.
        minimum_input: minimum numbers of bins and frames for the layers.
        adapt: see :func:`load_weights`.
        **options: arguments of torchvision's constructor.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or is too small.
        ConfigError: there is no such network; or the weights are not available, or belong to another network.
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
        # Everything that can fail comes first: a missing file should not cost the initialization of a large network.
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
        """Compute the activations before the published network's last layer."""
        return self.backbone(x)


def _inputs(head: nn.Module) -> int:
    """Number of inputs of a linear layer, or of a list that contains one linear layer or convolution."""
    sizes = [getattr(layer, "in_features", None) or getattr(layer, "in_channels", None) for layer in head.modules()]
    return int(next(size for size in sizes if size))


def _first_convolution(published: nn.Module, channels: int) -> nn.Conv2d:
    """The same convolution for another number of channels, initialized to keep the scale of its input (He et al.)."""
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
    """AlexNet: five convolutions and three linear layers (Krizhevsky 2014, arXiv 1404.5997).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        dropout: dropout probability before the first two linear layers.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import AlexNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = AlexNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, dropout: float = 0.5, pretrained: Pretrained = None
    ) -> None:
        sizes: dict[str, Any] = {"stem": "features.0", "head": "classifier.6", "minimum_input": (63, 63)}
        super().__init__(input_shape, num_classes, "alexnet", pretrained=pretrained, dropout=dropout, **sizes)


class DenseNet(VisionModel):
    """DenseNet: each layer of a block takes the outputs of all layers before it (Huang et al. 2016, arXiv 1608.06993).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``densenet121``.
        dropout: dropout probability at the end of each layer of a block.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import DenseNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = DenseNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 10])
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
        require_choice("depth", depth, (121, 161, 169, 201))
        sizes: dict[str, Any] = {"stem": "features.conv0", "head": "classifier", "minimum_input": (29, 29)}
        super().__init__(
            input_shape, num_classes, f"densenet{depth}", pretrained=pretrained, drop_rate=dropout, **sizes
        )


class EfficientNet(VisionModel):
    """EfficientNet: inverted residuals with compound scaling (Tan and Le 2019, arXiv 1905.11946).

    Depth, width and input size of the variants grow together. V2 (Tan and Le 2021, arXiv 2104.00298) has ordinary
    convolutions in its first stages, which train faster.

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        variant: as in ``efficientnet_b0``.
        dropout: dropout probability of the embedding.
        stochastic_depth: probability of skipping the last block in training; earlier blocks have lower probabilities.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import EfficientNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = EfficientNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 1280])
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
    """GoogLeNet: nine Inception modules (Szegedy et al. 2014, arXiv 1409.4842), batch norm, no auxiliary heads.

    Args:
        input_shape, num_classes: see :class:`VisionModel`.
        dropout: dropout probability of the embedding.
        pretrained: see :class:`VisionModel`; auxiliary heads in a file are ignored. Torchvision's own weights are
            adapted to the input range of its other networks.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import GoogLeNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = GoogLeNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 1024])
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
    """Adapt torchvision's weights, trained on images from -1 to 1, to images of mean 0 and standard deviation 1.

    Torchvision itself scales and shifts every image (``transform_input``). Here the first convolution scales and the
    normalization after it shifts. The result is the same except at the edges, where the padding is the mean of the
    image, not grey.
    """
    kernel = state["conv1.conv.weight"]
    mean, std = (torch.tensor(rgb, device=kernel.device) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    moved = (kernel.sum((2, 3)) * (2 * mean - 1)).sum(1)
    state["conv1.bn.running_mean"] = state["conv1.bn.running_mean"] - moved
    state["conv1.conv.weight"] = kernel * (2 * std)[:, None, None]


class MobileNet(VisionModel):
    """MobileNetV3: inverted residuals of separable convolutions, fast on a CPU (Howard et al. 2019, arXiv 1905.02244).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        variant: as in ``mobilenet_v3_small``.
        dropout: dropout probability before the last layer.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import MobileNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = MobileNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 1024])
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
            # The published momentum, 0.01, suits a million steps; in a short training the statistics would lag behind.
            norm_layer=partial(nn.BatchNorm2d, eps=0.001, momentum=0.1),
        )


class ResNet(VisionModel):
    """ResNet: residual network (He et al. 2015, arXiv 1512.03385).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``resnet18``.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import ResNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = ResNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 512])
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
    """SqueezeNet: fire modules, which squeeze and expand the channels (Iandola et al. 2016, arXiv 1602.07360).

    The published head is a 1x1 convolution, ReLU and the mean over all positions. The ReLU would prevent negative
    logits and could make a class unreachable, so it is omitted. Then the mean may come first: it gives the embedding,
    and the head is a linear layer with the same weights.

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        version: 1.0 as in the paper, or 1.1, which is as accurate with less than half the operations.
        dropout: dropout probability of the embedding.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import SqueezeNet
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = SqueezeNet(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 512])
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
    """VGG: groups of 3x3 convolutions and three linear layers (Simonyan and Zisserman 2014, arXiv 1409.1556).

    Args:
        input_shape, num_classes, pretrained: see :class:`VisionModel`.
        depth: number of layers with weights, as in ``vgg16`` and, with ``batch_norm``, in ``vgg16_bn``.
        batch_norm: whether each convolution is followed by batch normalization. The published networks have none, and
            hardly learn from random weights.
        dropout: dropout probability after the first two linear layers.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.vision import VGG
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = VGG(FeatureShape("spectrogram", (1, 64, 101)), num_classes=10, depth=11, batch_norm=True)
        ...     model.embed(torch.randn(2, 1, 64, 101)).shape
        torch.Size([2, 4096])
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
        require_choice("depth", depth, (11, 13, 16, 19))
        sizes: dict[str, Any] = {"stem": "features.0", "head": "classifier.6", "minimum_input": (32, 32)}
        name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
        super().__init__(input_shape, num_classes, name, pretrained=pretrained, dropout=dropout, **sizes)
