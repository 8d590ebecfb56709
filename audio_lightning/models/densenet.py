"""DenseNets on spectrograms."""

from typing import Literal

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel

EMBEDDING = {121: 1024, 161: 2208, 169: 1664, 201: 1920}


class DenseNet(VisionModel):
    """Blocks in which each layer sees the outputs of all before it (Huang et al. 2016, arXiv 1608.06993).

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        depth: number of layers with weights: 121, 161, 169 or 201.
        dropout: probability with which an activation is dropped at the end of each layer of a block.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``densenet121``.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the pooling.
        ConfigError: the weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        depth: Literal[121, 161, 169, 201] = 121,
        dropout: float = 0.0,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(29, 29))
        self.wrap(
            f"densenet{depth}",
            stem="features.conv0",
            head="classifier",
            embedding_dim=EMBEDDING[depth],
            pretrained=pretrained,
            drop_rate=dropout,
        )
