"""MobileNets on spectrograms."""

from functools import partial
from typing import Literal

from torch import nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel

EMBEDDING = {"v3_small": 1024, "v3_large": 1280}

# The published momentum, 0.01, is for a million steps: in a short training, evaluation would lag behind.
NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)


class MobileNet(VisionModel):
    """Inverted residuals of separable convolutions (V3, Howard et al. 2019, arXiv 1905.02244); light on a CPU.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        variant: ``"v3_small"`` or ``"v3_large"``.
        dropout: probability with which an activation is dropped before the last layer.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``mobilenet_v3_small``.

    Raises:
        IncompatibleInput: the input is no spectrogram.
        ConfigError: there is no such variant, or its weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        variant: Literal["v3_small", "v3_large"] = "v3_small",
        dropout: float = 0.2,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        if variant not in EMBEDDING:
            raise ConfigError(f"mobilenet has no variant {variant}, expected one of: {', '.join(EMBEDDING)}")
        self.wrap(
            f"mobilenet_{variant}",
            stem="features.0.0",
            head="classifier.3",
            embedding_dim=EMBEDDING[variant],
            pretrained=pretrained,
            dropout=dropout,
            norm_layer=NORM,
        )
