"""Image networks of timm (PyTorch Image Models) on spectrograms."""

import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel, IncompatibleInput

STRIDE = 32
"""Factor by which most networks reduce the size of their input."""

REFUSALS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
"""Exceptions that networks raise for unsupported options or input sizes."""


class Timm(AudioModel):
    """Network of timm (PyTorch Image Models, https://github.com/huggingface/pytorch-image-models), by its name.

    Networks for one input size, such as vision transformers, are built for the size of the spectrogram.

    Args:
        input_shape: shape of the spectrogram, with any number of channels.
        num_classes: number of logits.
        name: one of ``timm.list_models()``, optionally with the tag of its published weights after a dot.
        dropout: dropout probability of the embedding.
        pretrained: None, True for the published weights, or a file with them. timm fits the first convolution to the
            number of channels; for a single channel, it is the sum over the colours.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or has a size that the network does not support.
        ConfigError: timm is not installed or has no such network; or the weights are not available, or belong to
            another network.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.timm import Timm
        >>> shape = FeatureShape("spectrogram", (1, 64, 101))
        >>> model = Timm(shape, num_classes=10, name="test_resnet")  # doctest: +SKIP
        >>> model(torch.randn(2, 1, 64, 101)).shape  # doctest: +SKIP
        torch.Size([2, 10])
    """

    input_kind = "spectrogram"

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        name: str = "resnet10t",
        dropout: float = 0.2,
        pretrained: bool | str | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        _check_name(name)
        options, probe, self.embedding_dim = _probe(name, input_shape)
        channels, bins, frames = input_shape.dims
        self.accepts_variable_length = all(_embedding_dim(probe, channels, bins, frames + more) for more in (1, frames))
        self.backbone = _create(name, options, pretrained)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.embedding_dim, num_classes))

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Compute the pooled activations before the network's last layer."""
        return self.backbone(x)


def _timm() -> Any:
    try:
        return import_module("timm")
    except ModuleNotFoundError as error:
        raise ConfigError(f"model=timm needs the package {error.name}; pip install 'audio-lightning[timm]'") from error


def _check_name(name: str) -> None:
    """Accept only names of timm's own list: it would download the target of a name such as ``hf-hub:...``."""
    timm = _timm()
    architecture, _, tag = name.partition(".")
    if ":" in name or not timm.is_model(architecture) or (tag and name not in timm.list_pretrained(architecture)):
        known = timm.list_pretrained(architecture) if tag else ()
        raise ConfigError(
            f"model.name={name}: timm has no such network" + did_you_mean(name, known or timm.list_models())
        )


def _probe(name: str, shape: FeatureShape) -> tuple[dict[str, Any], nn.Module, int]:
    """Return options that fit the network to the input, the network on the meta device, and its embedding size."""
    found = _try(name, *shape.dims)
    if found:
        return found
    channels, *size = shape.dims
    larger = ([-(-least // STRIDE) * STRIDE + more for least in size] for more in range(0, 8 * STRIDE, STRIDE))
    fitting = next((dims for dims in larger if _try(name, channels, *dims)), None)
    taken = fitting or _timm().get_pretrained_cfg(name).input_size[1:]
    raise IncompatibleInput(
        f"timm's {name} cannot take a {shape}, but {taken[0]} bins and {taken[1]} frames; "
        "choose another model.name, or a feature and clip length that give this size",
        least=tuple(fitting) if fitting else None,
    )


def _try(name: str, channels: int, *size: int) -> tuple[dict[str, Any], nn.Module, int] | None:
    """Like :func:`_probe`, or None if the network does not take the input, whether given its size or not."""
    for size_option in ({}, {"img_size": size}):
        options = {"in_chans": channels, **size_option}
        with suppress(*REFUSALS), torch.device("meta"):
            network = _create(name, options, None)
            if embedding_dim := _embedding_dim(network, channels, *size):
                return options, network, embedding_dim
    return None


def _embedding_dim(network: nn.Module, *dims: int) -> int:
    """Size of the output for one clip of a network on the meta device; zero if the output is not an embedding."""
    with suppress(*REFUSALS), torch.no_grad():
        found = network.eval()(torch.empty(2, *dims, device="meta"))
        return int(found.shape[1]) if found.dim() == 2 else 0
    return 0


def _create(name: str, options: dict[str, Any], pretrained: bool | str | None) -> nn.Module:
    """Build the network without its last layer.

    It is first built with that layer: for any other number of classes, timm would ignore a missing weight in a file.
    """
    timm = _timm()
    overlay: dict[str, Any] = {}
    if isinstance(pretrained, str):
        file = Path(pretrained).expanduser()
        if not file.is_file():
            raise ConfigError(f"model.pretrained={pretrained}: no such file; expected weights of timm's {name}")
        overlay = {"file": str(file), "source": "", "custom_load": file.suffix == ".npz"}
    if not pretrained:
        network = timm.create_model(name, **options)
    else:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
                network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except Exception as error:  # any exception of timm, torch, and the clients for HTTP and files
            raise ConfigError(_no_weights(name, pretrained, error)) from error
    network.reset_classifier(0)
    return network


def _no_weights(name: str, pretrained: bool | str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(pretrained, str):
        return f"model.pretrained: {pretrained} contains no weights of timm's {name}: {reason}; use another file"
    published = _timm().get_pretrained_cfg(name)
    if not (published.hf_hub_id or published.url):
        return f"model.pretrained=true: timm has no weights of {name}; give a file of your own as model.pretrained=FILE"
    place = f"model.safetensors from https://huggingface.co/{published.hf_hub_id}/tree/main"
    return (
        f"model.pretrained=true: the weights cannot be downloaded ({reason}); "
        f"get {place if published.hf_hub_id else published.url} elsewhere and give its path as model.pretrained=FILE"
    )
