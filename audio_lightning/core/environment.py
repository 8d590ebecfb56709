"""Software versions and hardware of a run."""

import contextlib
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from audio_lightning import __version__
from audio_lightning.core.cores import cores

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
    """Content of ``environment.json``: versions of packages, processor, GPUs and command-line arguments."""
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
