"""GoogLeNet on spectrograms."""

import torch
from torch import Tensor

from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import VisionModel


class GoogLeNet(VisionModel):
    """Nine Inception modules (Szegedy et al. 2014, arXiv 1409.4842) with batch normalization, no auxiliary heads.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        dropout: probability with which a value of the embedding is dropped.
        pretrained: null, true for the weights of ImageNet, or a file with a state dict of torchvision's
            ``googlenet``, whose auxiliary heads are left out. Torchvision's own are made to see what those of its
            other networks see.

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
        self.wrap(
            "googlenet",
            stem="conv1.conv",
            head="fc",
            embedding_dim=1024,
            pretrained=pretrained,
            adapt=_take_standard_pictures,
            dropout=dropout,
            aux_logits=False,
            init_weights=not pretrained,
        )


def _take_standard_pictures(state: dict[str, Tensor]) -> None:
    """Let weights for pictures from -1 to 1, which torchvision's are, see them with mean 0 and standard deviation 1.

    Torchvision itself scales and moves every picture (``transform_input``). Here the first convolution scales and the
    normalization behind it moves, which is the same but at the edges: padding is the mean of the picture, not its grey.
    """
    kernel = state["conv1.conv.weight"]
    mean, std = (torch.tensor(rgb, device=kernel.device) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    moved = (kernel.sum((2, 3)) * (2 * mean - 1)).sum(1)
    state["conv1.bn.running_mean"] = state["conv1.bn.running_mean"] - moved
    state["conv1.conv.weight"] = kernel * (2 * std)[:, None, None]
