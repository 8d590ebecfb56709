"""Parameters and multiply-accumulate operations of a network."""

import torch

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import build_network, without_pretrained


def costs(classifier: AudioClassifier) -> dict[str, int]:
    """Count parameters and multiply-accumulates of the network.

    Returns:
        ``parameters``: number of trainable parameters. ``frozen_parameters``: number of the others, if there are any.
        ``macs``: see :meth:`AudioModel.macs`.
    """
    sizes = {True: 0, False: 0}
    for parameter in classifier.network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    frozen = {"frozen_parameters": sizes[False]} if sizes[False] else {}
    with torch.device("meta"):
        same = build_network(without_pretrained(classifier.config), classifier.front_end.output_shape, classifier.task)
    return {"parameters": sizes[True], **frozen, "macs": same.macs()}
