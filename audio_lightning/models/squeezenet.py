"""SqueezeNet on spectrograms."""

from torch import nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel

MINIMUM = {1.0: (21, 21), 1.1: (17, 17)}


class SqueezeNet(VisionModel):
    """Fire modules: few channels squeezed out of many, and expanded again (Iandola et al. 2016, arXiv 1602.07360).

    The published head is a 1x1 convolution, ReLU and the mean over the picture. Without the ReLU, which would let no
    logit be negative and a class die, the mean may come first: here it gives the embedding, and the head is a linear
    layer with the same weights.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        version: 1.0 as in the paper, or 1.1, as good with less than half the operations.
        dropout: probability with which a value of the embedding is dropped.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``squeezenet1_1``.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the pooling.
        ConfigError: there is no such version, or the weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        version: float = 1.1,
        dropout: float = 0.5,
        pretrained: bool | str | None = None,
    ) -> None:
        if version not in MINIMUM:
            raise ConfigError(f"squeezenet has no version {version}, expected one of: {', '.join(map(str, MINIMUM))}")
        super().__init__(input_shape, num_classes, minimum_input=MINIMUM[version])
        self.wrap(
            f"squeezenet{version:.1f}".replace(".", "_"),
            stem="features.0",
            head="classifier",
            embedding_dim=512,
            pretrained=pretrained,
        )
        self.backbone.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout))
