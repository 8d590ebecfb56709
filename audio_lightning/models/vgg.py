"""VGG networks on spectrograms."""

from typing import Literal

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel


class VGG(VisionModel):
    """Groups of 3x3 convolutions and three linear layers (Simonyan and Zisserman 2014, arXiv 1409.1556).

    Args:
        input_shape: shape of the spectrogram, with any number of channels; each of five groups halves it.
        num_classes: number of logits.
        depth: number of layers with weights: 11, 13, 16 or 19.
        batch_norm: whether each convolution is followed by batch normalization; without it, as published, the network
            hardly learns from random weights.
        dropout: probability with which an activation is dropped after the first two linear layers.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``vgg16`` or, with ``batch_norm``, ``vgg16_bn``.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the groups.
        ConfigError: the weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[11, 13, 16, 19] = 16,
        batch_norm: bool = False,
        dropout: float = 0.5,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(32, 32))
        self.wrap(
            f"vgg{depth}_bn" if batch_norm else f"vgg{depth}",
            stem="features.0",
            head="classifier.6",
            embedding_dim=4096,
            pretrained=pretrained,
            dropout=dropout,
        )
