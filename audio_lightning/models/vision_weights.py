"""Weights of torchvision's image networks: download and loading."""

import re
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from audio_lightning.core.errors import ConfigError

Adapt: TypeAlias = Callable[[dict[str, Tensor]], None]


def weights_file(name: str, pretrained: bool | str) -> Path:
    """Return the file of weights for the option ``pretrained``; torchvision's own weights are downloaded once.

    Raises:
        ConfigError: the file does not exist or cannot be downloaded.
    """
    if isinstance(pretrained, str):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"model.pretrained={pretrained}: no such file; expected a state dict of torchvision's {name}"
            )
        return path
    url = url_of(name)
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        return path
    checksum = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=checksum and checksum[1], progress=False)
    except (OSError, HTTPException, RuntimeError) as error:  # no network, a broken connection, a wrong checksum
        raise ConfigError(
            f"model.pretrained=true: the weights cannot be downloaded ({error}); "
            f"get {url} elsewhere and put it at {path}, or give its path as model.pretrained=FILE"
        ) from error
    return path


def url_of(name: str) -> str:
    """URL of torchvision's own weights of a network."""
    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return url


def load_weights(network: nn.Module, file: Path, name: str, *, stem: str, head: str, adapt: Adapt | None) -> None:
    """Load all weights except the head's, and fit the first convolution to the number of channels.

    For equal channels, the fitted convolution returns the same as the published one for a grey RGB image. On the meta
    device everything is checked but nothing is loaded.

    Args:
        network: torchvision's network, without its head.
        file: a state dict of that network.
        name: torchvision's name of the network.
        stem: name of its first convolution.
        head: name of the layers that were removed.
        adapt: changes torchvision's own weights, and only those, if they expect another input range than the weights of
            its other networks.

    Raises:
        ConfigError: the file is damaged or belongs to another network.
    """
    try:
        stored = torch.load(file, map_location=next(network.parameters()).device, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise ConfigError(
            f"model.pretrained: {file} is no file of weights: {str(error).splitlines()[0]}; download it again"
        ) from error
    # GoogLeNet has auxiliary heads.
    left_out = (f"{head}.", "aux1.", "aux2.")
    try:
        state = {_current(key): value for key, value in stored.items() if not key.startswith(left_out)}
        if adapt and file.name == url_of(name).rpartition("/")[2]:
            adapt(state)
        kernel, channels = state[f"{stem}.weight"], network.get_parameter(f"{stem}.weight").shape[1]
        if kernel.shape[1] != channels:
            state[f"{stem}.weight"] = kernel.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
        network.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"model.pretrained: {file} contains no state dict of torchvision's {name}; use another file"
        ) from error


def _current(key: str) -> str:
    """Current name of a parameter; the published DenseNets have ``norm.1`` for ``norm1``."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
