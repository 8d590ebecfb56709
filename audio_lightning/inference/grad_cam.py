"""Grad-CAM (HiResCAM): relevance for a class in the last feature maps of a convolutional network.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017), in the
form of Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks"
(2020, arXiv 2011.08891): gradients are not averaged over the feature map. With global pooling, both are equal. If a
network flattens its maps, the mean gradient also marks cells that the logit does not depend on. There is no ReLU:
evidence against the class is negative.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.base import FrontEnd
from audio_lightning.inference.time_frequency import BANDS, TimeFrequencyPlane
from audio_lightning.models.base import AudioModel

LEAST_CONVOLUTIONS = 2
"""Minimum number of convolutions; a single one is a patch embedding, and its maps are no evidence for a class."""

TONE_AMPLITUDE = 0.3


class NotConvolutional(ConfigError):  # noqa: N818 - the name states the reason
    """The classifier has no feature maps over time and frequency."""


def grad_cam(
    classifier: Classifier, plane: TimeFrequencyPlane, waveform: Float[Tensor, "samples"], class_index: int
) -> Float[Tensor, "bands frames"]:
    """Compute the relevance of every cell of the plane for a class.

    Args:
        classifier: in evaluation mode.
        plane: time-frequency plane of its clips.
        waveform: a clip, on the CPU.
        class_index: index of the class.

    Raises:
        NotConvolutional: an ensemble, a network without convolutions on spectrograms, or features without a frequency
            axis.
    """
    if not isinstance(classifier, ClassifierNetwork) or isinstance(classifier.network, Ensemble):
        raise NotConvolutional("--method gradcam: needs a single network, not an ensemble; use occlusion")
    network, front_end = classifier.network, classifier.front_end
    with torch.no_grad():
        features = classifier.arranged(front_end(waveform[None].to(classifier.device)))
    layer = last_feature_map(network, features)
    if layer is None:
        raise NotConvolutional("--method gradcam: needs a convolutional network on spectrograms; use occlusion")
    band = bands_of_bins(front_end, plane)
    if band is None:
        raise NotConvolutional("--method gradcam: needs a feature with a frequency axis; use occlusion")
    relevance = _class_activation(network, layer, features, class_index)
    size = (features.shape[2], plane.frames)
    picture = functional.interpolate(relevance[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    rows = np.interp(np.arange(BANDS), band, np.arange(len(band)))
    low = torch.from_numpy(np.floor(rows)).long()
    share = torch.from_numpy(rows - np.floor(rows)).float()[:, None]
    mapped = torch.lerp(picture[low], picture[(low + 1).clamp(max=len(picture) - 1)], share)
    outside = (torch.arange(BANDS) < int(band[0])) | (torch.arange(BANDS) > int(band[-1]))
    mapped[outside] = mapped.min()  # these bands are not part of the input of the network
    return mapped


def last_feature_map(network: AudioModel, features: Float[Tensor, "1 channels *dims"]) -> nn.Module | None:
    """Find the module with the last feature map: the last module whose output has the size of the last convolution's.

    Returns:
        None if the network is not fully convolutional: it has recurrent layers or attention, or fewer than
        :data:`LEAST_CONVOLUTIONS` convolutions with two-dimensional output.
    """
    if features.dim() != 4 or any(
        isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)) for layer in network.modules()
    ):
        return None
    calls: list[tuple[nn.Module, torch.Size]] = []

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            calls.append((module, output.shape[2:]))

    handles = [module.register_forward_hook(note) for module in network.modules() if module is not network]
    try:
        with torch.no_grad():
            network(features)
    finally:
        for handle in handles:
            handle.remove()
    convolutions = [place for place, (module, _) in enumerate(calls) if isinstance(module, nn.Conv2d)]
    if len(convolutions) < LEAST_CONVOLUTIONS:
        return None
    last = convolutions[-1]
    return next(module for module, size in reversed(calls[last:]) if size == calls[last][1])


def bands_of_bins(front_end: FrontEnd, plane: TimeFrequencyPlane) -> Float[np.ndarray, "bins"] | None:
    """Find, for each bin of a front end, the band of the plane whose tone gives the strongest response.

    Returns:
        Ascending band indices; None if bins do not ascend in frequency (cepstral coefficients), or differ by channel.
    """
    time = torch.arange(plane.num_samples) / plane.sample_rate
    tones = TONE_AMPLITUDE * torch.sin(2 * math.pi * plane.centres[:, None] * time)
    device = next((value.device for value in front_end.state_dict().values()), torch.device("cpu"))
    with torch.no_grad():
        features = torch.cat([front_end.compute(tone.to(device)).cpu() for tone in tones.split(4)])
    if features.dim() != 4:
        return None
    place = features.mean(dim=-1).argmax(dim=0).numpy()  # [channels, bins]
    if np.ptp(place, axis=0).max() > 1:
        return None
    band = place[0]
    if np.diff(band).min(initial=0) < -1 or band[-1] - band[0] < BANDS // 2:
        return None
    return np.maximum.accumulate(band).astype(np.float64)


def _class_activation(
    network: AudioModel, layer: nn.Module, features: Float[Tensor, "1 channels bins frames"], class_index: int
) -> Float[Tensor, "rows columns"]:
    """Multiply the feature maps of a layer by the gradient of the logit, and sum over the maps."""
    maps: list[Tensor] = []

    def keep(module: nn.Module, _: object, output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())
        return maps[-1].clone()  # the next layer may work in place

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logit = network(features)[0, class_index]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logit, maps[-1])
    return (gradient * maps[-1].detach()).sum(dim=1)[0].float().cpu()
