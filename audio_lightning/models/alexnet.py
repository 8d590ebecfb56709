"""AlexNet on spectrograms."""

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel


class AlexNet(VisionModel):
    """Five convolutions and three linear layers (Krizhevsky 2014, arXiv 1404.5997) for any number of channels.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        dropout: probability with which an activation is dropped before the first two linear layers.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's ``alexnet``.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the convolutions.
        ConfigError: the weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        dropout: float = 0.5,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(63, 63))
        self.wrap(
            "alexnet",
            stem="features.0",
            head="classifier.6",
            embedding_dim=4096,
            pretrained=pretrained,
            dropout=dropout,
        )
