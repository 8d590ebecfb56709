"""GoogLeNet on spectrograms."""

from audio_lightning.models.vision import VisionModel
from audio_lightning.task import FeatureShape


class GoogLeNet(VisionModel):
    """Nine Inception modules (Szegedy et al. 2014, arXiv 1409.4842) with batch normalization, no auxiliary heads.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        dropout: probability with which a value of the embedding is dropped.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's
            ``googlenet``, whose auxiliary heads are left out.

    Raises:
        IncompatibleInput: the input is no spectrogram, or nothing is left of it after the pooling.
        ConfigError: the weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        dropout: float = 0.2,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(15, 15))
        self.adopt(
            "googlenet",
            stem="conv1.conv",
            head="fc",
            embedding_dim=1024,
            pretrained=pretrained,
            dropout=dropout,
            aux_logits=False,
            init_weights=not pretrained,
        )
