"""Residual networks on spectrograms."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34, resnet50

from audio_lightning.errors import ConfigError
from audio_lightning.models.base import AudioModel
from audio_lightning.task import FeatureShape

BUILDERS = {18: resnet18, 34: resnet34, 50: resnet50}


class ResNet(AudioModel):
    """Residual network as published (He et al. 2015, arXiv 1512.03385) for any number of input channels.

    Global pooling before the head makes it independent of the size of the picture.

    Args:
        input_shape: shape of the spectrogram.
        num_classes: number of logits.
        depth: number of layers: 18, 34 or 50.

    Raises:
        IncompatibleInput: the input is no spectrogram.
        ConfigError: there is no network of this depth.
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(self, input_shape: FeatureShape, num_classes: int, *, depth: Literal[18, 34, 50] = 18) -> None:
        super().__init__(input_shape, num_classes)
        if depth not in BUILDERS:
            raise ConfigError(f"resnet has no depth {depth}, expected one of: {', '.join(map(str, BUILDERS))}")
        self.backbone = BUILDERS[depth](weights=None)
        self.embedding_dim = self.backbone.fc.in_features
        self.head = nn.Linear(self.embedding_dim, num_classes)
        self.backbone.fc = nn.Identity()
        if input_shape.channels != 3:
            self.backbone.conv1 = nn.Conv2d(input_shape.channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Mean of the last feature map over frequency and time."""
        return self.backbone(x)
