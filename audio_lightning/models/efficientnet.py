"""EfficientNets on spectrograms."""

from typing import Literal

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel

EMBEDDING = {"b0": 1280, "b1": 1280, "b2": 1408, "v2_s": 1280}


class EfficientNet(VisionModel):
    """Inverted residuals whose depth, width and picture grow together (Tan and Le 2019, arXiv 1905.11946).

    V2 (Tan and Le 2021, arXiv 2104.00298) has ordinary convolutions in its first stages, which train faster.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        variant: ``"b0"``, ``"b1"``, ``"b2"`` or ``"v2_s"``.
        dropout: probability with which a value of the embedding is dropped.
        stochastic_depth: probability with which the last block is skipped in training; those before it less.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's network, such
            as ``efficientnet_b0``.

    Raises:
        IncompatibleInput: the input is no spectrogram.
        ConfigError: there is no such variant, or its weights cannot be had, or are none of this network.
    """

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        variant: Literal["b0", "b1", "b2", "v2_s"] = "b0",
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        if variant not in EMBEDDING:
            raise ConfigError(f"efficientnet has no variant {variant}, expected one of: {', '.join(EMBEDDING)}")
        self.wrap(
            f"efficientnet_{variant}",
            stem="features.0.0",
            head="classifier.1",
            embedding_dim=EMBEDDING[variant],
            pretrained=pretrained,
            dropout=dropout,
            stochastic_depth_prob=stochastic_depth,
        )
