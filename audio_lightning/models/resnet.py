"""Residual networks on spectrograms."""

from typing import Literal

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel

EMBEDDING = {18: 512, 34: 512, 50: 2048}


class ResNet(VisionModel):
    """Residual network as published (He et al. 2015, arXiv 1512.03385) for any number of input channels.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        depth: number of layers: 18, 34 or 50.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``resnet18``.

    Raises:
        IncompatibleInput: the input is no spectrogram.
        ConfigError: there is no network of this depth, or its weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[18, 34, 50] = 18,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        if depth not in EMBEDDING:
            raise ConfigError(f"resnet has no depth {depth}, expected one of: {', '.join(map(str, EMBEDDING))}")
        self.wrap(f"resnet{depth}", stem="conv1", head="fc", embedding_dim=EMBEDDING[depth], pretrained=pretrained)
