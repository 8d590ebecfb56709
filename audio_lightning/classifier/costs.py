"""Parameters and multiply-accumulate operations of a network."""

import torch

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import build_network, without_pretrained
from audio_lightning.models.memory import resize_memory


def costs(classifier: AudioClassifier) -> dict[str, int]:
    """Count parameters and multiply-accumulates of the network.

    Returns:
        ``parameters``: number of trainable parameters. ``frozen_parameters``: number of the others, if there are any.
        ``macs``: see :meth:`AudioModel.macs`; with the products of stored training clips, once they are stored.
    """
    sizes = {True: 0, False: 0}
    for parameter in classifier.network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    frozen = {"frozen_parameters": sizes[False]} if sizes[False] else {}
    with torch.device("meta"):
        same = build_network(without_pretrained(classifier.config), classifier.front_end.output_shape, classifier.task)
    resize_memory(same, like=classifier.network)
    return {"parameters": sizes[True], **frozen, "macs": same.macs()}
