"""Image networks of torchvision on spectrograms: another first convolution, another head, and published weights."""

import re
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.base import AudioModel


class VisionModel(AudioModel):
    """An image network of torchvision that looks at spectrograms.

    Subclasses check their input with the constructor and then say with :meth:`wrap` which network they are. All pool
    the picture to a fixed size before the first linear layer, so that the length of a clip does not matter.
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def wrap(
        self,
        name: str,
        *,
        stem: str,
        head: str,
        embedding_dim: int,
        pretrained: bool | str | None,
        adapt: Callable[[dict[str, Tensor]], None] | None = None,
        **options: Any,
    ) -> None:
        """Take over a network: its first convolution fits the input's channels, and what it classified with is gone.

        Args:
            name: torchvision's name of the network.
            stem: name of its first convolution.
            head: name of the layers from the embedding to the logits of ImageNet.
            embedding_dim: size of the embedding.
            pretrained: null, true for the weights of ImageNet, or a file with a state dict of that network.
            adapt: changes torchvision's own weights, and only those, where they see pictures in another range than
                those of its other networks do.
            **options: for torchvision's constructor.

        Raises:
            ConfigError: the weights cannot be had, or are none of this network.
        """
        # What can fail comes first: a file that is missing shall not cost the time to initialize a large network.
        file = _weights_file(name, pretrained) if pretrained else None
        network = get_model(name, weights=None, **options)
        network.set_submodule(stem, _first_convolution(network.get_submodule(stem), self.input_shape.channels))
        network.set_submodule(head, nn.Identity())
        if file is not None:
            _load(network, file, name, stem, head, adapt if file.name == _url(name).rpartition("/")[2] else None)
        self.backbone = network
        self.embedding_dim = embedding_dim
        self.head = nn.Linear(embedding_dim, self.num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """What the published network has before its last layer."""
        return self.backbone(x)


def _first_convolution(published: nn.Module, channels: int) -> nn.Conv2d:
    """The same convolution on another number of channels, initialized to keep the scale of its input (He et al.)."""
    assert isinstance(published, nn.Conv2d), "a network begins with a convolution"
    if channels == published.in_channels:
        return published
    sizes: dict[str, Any] = {key: getattr(published, key) for key in ("kernel_size", "stride", "padding")}
    made = nn.Conv2d(channels, published.out_channels, bias=published.bias is not None, **sizes)
    nn.init.kaiming_normal_(made.weight, nonlinearity="relu")
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def _weights_file(name: str, pretrained: bool | str) -> Path:
    """The file that ``pretrained`` means, downloaded where it is torchvision's and not there yet."""
    if isinstance(pretrained, str):
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"model.pretrained={pretrained}: no such file, expected a state dict of torchvision's {name}"
            )
        return path
    url = _url(name)
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


def _url(name: str) -> str:
    """Where torchvision has its own weights of a network."""
    url: str = get_model_weights(name)["IMAGENET1K_V1"].url
    return url


def _load(
    network: nn.Module,
    file: Path,
    name: str,
    stem: str,
    head: str,
    adapt: Callable[[dict[str, Tensor]], None] | None,
) -> None:
    """Load all but the head; the first convolution gives for equal channels what it gave for grey RGB pictures.

    On the meta device nothing is loaded, but everything is checked.
    """
    try:
        stored = torch.load(file, map_location=next(network.parameters()).device, weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise ConfigError(f"model.pretrained: {file} is no file of weights: {str(error).splitlines()[0]}") from error
    # The auxiliary heads are GoogLeNet's.
    left_out = (f"{head}.", "aux1.", "aux2.")
    try:
        state = {_current(key): value for key, value in stored.items() if not key.startswith(left_out)}
        if adapt:
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
