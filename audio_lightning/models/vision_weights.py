"""Weights that torchvision publishes for its image networks, and files of the same form."""

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
    """The file that ``pretrained`` means, downloaded where it is torchvision's and not there yet.

    Raises:
        ConfigError: it cannot be had.
    """
    if isinstance(pretrained, str):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"model.pretrained={pretrained}: no such file, expected a state dict of torchvision's {name}"
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
            f"model.pretrained=true: the weights cannot be downloaded ({error}): "
            f"get {url} elsewhere and put it at {path}, or give its place as model.pretrained=FILE"
        ) from error
    return path


def url_of(name: str) -> str:
    """Where torchvision has its own weights of a network."""
    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return url


def load_weights(network: nn.Module, file: Path, name: str, *, stem: str, head: str, adapt: Adapt | None) -> None:
    """Load all but the head; the first convolution gives for equal channels what it gave for grey RGB pictures.

    On the meta device nothing is loaded, but everything is checked.

    Args:
        network: of torchvision, without its head.
        file: a state dict of that network.
        name: torchvision's name of it.
        stem: name of its first convolution.
        head: name of the layers that are gone.
        adapt: changes torchvision's own weights, and only those, where they see pictures in another range than
            those of its other networks do.

    Raises:
        ConfigError: a damaged file, or one of another network.
    """
    try:
        stored = torch.load(file, map_location=next(network.parameters()).device, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise ConfigError(f"model.pretrained: {file} is no file of weights: {str(error).splitlines()[0]}") from error
    # The auxiliary heads are GoogLeNet's.
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
        raise ConfigError(f"model.pretrained: {file} holds no state dict of torchvision's {name}") from error


def _current(key: str) -> str:
    """Today's name of a parameter; the published DenseNets have ``norm.1`` where the network has ``norm1``."""
    return re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
