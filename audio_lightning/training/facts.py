"""What a run took and where it ran."""

import contextlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from audio_lightning import __version__
from audio_lightning.classifier import AudioClassifier
from audio_lightning.cores import cores
from audio_lightning.networks import build_network, without_pretrained

PACKAGES = (
    "torch",
    "torchaudio",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "numpy",
    "soundfile",
    "soxr",
)


def environment() -> dict[str, Any]:
    """Versions and machine, for ``environment.json``."""
    versions = {"audio-lightning": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": cores(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else [],
        "cuda": torch.version.cuda if cuda else None,
        "packages": versions,
        "arguments": sys.argv[1:],
    }


def costs(classifier: AudioClassifier) -> dict[str, int]:
    """Size and price of the network.

    Returns:
        ``parameters``: trainable ones. ``frozen_parameters``: the others, where there are any. ``macs``: see
        :meth:`AudioModel.macs`.
    """
    sizes = {True: 0, False: 0}
    for parameter in classifier.network.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    frozen = {"frozen_parameters": sizes[False]} if sizes[False] else {}
    with torch.device("meta"):
        same = build_network(without_pretrained(classifier.config), classifier.front_end.output_shape, classifier.task)
    return {"parameters": sizes[True], **frozen, "macs": same.macs()}
