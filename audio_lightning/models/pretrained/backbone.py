"""Base class of published networks, used frozen or fine-tuned, and loading of their weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError


class WeightFile(Protocol):
    """Interface of a file of published weights, wherever it is stored."""

    @property
    def remedy(self) -> str:
        """Instruction that puts the file on this machine, in one line."""

    @property
    def is_here(self) -> bool:
        """Whether the file is on this machine; its content is not checked."""

    def path(self) -> Path:
        """Return the path of the file, after checking that it is the published one.

        Raises:
            ConfigError: the file is not available, or is not the published one.
        """


class Backbone(nn.Module, ABC):
    """Base class of published networks, including their front end: from waveforms to the outputs of their layers.

    A network is built with random weights; :meth:`load` replaces them with the published ones.

    Args:
        sample_rate: rate of the waveforms in hertz. If ``any_rate``, waveforms of another rate than the training data
            are processed as if they were resampled, with the frequency range of their own rate.

    Attributes:
        clip_rate: rate of the clips in hertz; if it differs from ``sample_rate``, they are resampled first
            (:func:`audio_lightning.models.pretrained.registry.layers_of`).
        title: display name.
        trained_rate: sample rate of the training data in hertz.
        any_rate: whether waveforms may have other rates.
        least_seconds: minimum length of a clip in seconds for which every layer has an output.
        num_parameters: approximate number of parameters.
        layers: number of channels of each layer, by name, from the input to the output.
        single: layers with one frame, which describe a whole clip.
        masks_padding: whether the outputs for padding are excluded, because the network was trained on clips without
            padding.
        trainable: whether gradients flow through the network.
        file: the published weights.
        licence: licence of the weights.
        citation: publication that describes the network.
        architecture: description from which the network is built, if it is only known from the weights; checkpoints
            store it.
    """

    title: str
    trained_rate: int
    any_rate: bool = True
    least_seconds: float
    num_parameters: int
    layers: Mapping[str, int]
    single: frozenset[str] = frozenset()
    masks_padding: bool = False
    trainable: ClassVar[bool] = True
    file: WeightFile
    licence: str
    citation: str
    architecture: Mapping[str, Any] | None = None

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = self.clip_rate = sample_rate

    @property
    def inferred_options(self) -> dict[str, Any]:
        """Options of a feature or model with which the same network is built without the published files."""
        return {} if self.architecture is None else {"architecture": dict(self.architecture)}

    @abstractmethod
    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of all layers over time, by name."""

    @abstractmethod
    def load(self) -> None:
        """Load the published weights; on the meta device everything is checked but nothing is loaded.

        Raises:
            ConfigError: the weights are not on this machine, or are damaged.
        """


def full_precision(waveform: Float[Tensor, "batch time"]) -> AbstractContextManager[object]:
    """Context that disables autocast: power spectra overflow float16, and their logarithms lose digits in bfloat16."""
    return nullcontext() if waveform.is_meta else torch.autocast(waveform.device.type, enabled=False)


def read_tensors(file: WeightFile, title: str, device: torch.device) -> dict[str, Tensor]:
    """Read the tensors in a file written by torch, by name; nothing in the file is executed.

    Args:
        file: file with a state dict, or with a mapping that holds one under ``model`` or ``state_dict``.
        title: name of the network, for messages.
        device: device of the tensors.

    Raises:
        ConfigError: the file is not available, is damaged, or contains no tensors.
    """
    path = file.path()
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, UnpicklingError, ValueError) as error:
        raise ConfigError(f"{path} contains no weights of {title}: {error!r:.200}; {file.remedy}") from error
    for key in ("model", "state_dict"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{path} holds a {type(stored).__name__}, expected the weights of {title}; {file.remedy}")
    return {name: value for name, value in stored.items() if isinstance(value, Tensor)}


def load_tensors(network: nn.Module, stored: Mapping[str, Tensor], file: WeightFile, title: str) -> None:
    """Load all published tensors of a network; other tensors in ``stored`` are ignored.

    Raises:
        ConfigError: tensors are missing, or have another shape.
    """
    try:
        network.load_state_dict({name: stored[name] for name in network.state_dict()})
    except KeyError as error:
        raise ConfigError(f"{file.path()} contains no weights of {title}: {error} is missing; {file.remedy}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{file.path()} contains no weights of {title}: {reason}; {file.remedy}") from error
