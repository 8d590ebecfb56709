"""What every published network is, used as it is or trained further."""

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
    """A file of published weights, wherever it comes from."""

    @property
    def remedy(self) -> str:
        """What puts it on this machine, in one line."""

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, whatever is in it."""

    def path(self) -> Path:
        """Where it is, once it has been seen to be the published one.

        Raises:
            ConfigError: it cannot be had, or is another one.
        """


class Backbone(nn.Module, ABC):
    """A published network from waveforms to what its layers make of them, its own front end included.

    It is built with weights at random; :meth:`load` puts the published ones in their place.

    Args:
        sample_rate: in hertz, of the waveforms: sounds of another rate than those that it was trained on are seen as
            they would be if they were brought to that rate, at the cost of their own.

    Attributes:
        clip_rate: in hertz, of the clips; where it is another one than ``sample_rate``, they are brought to that first
            (:func:`audio_lightning.models.pretrained.registry.layers_of`).
        title: what it is called.
        trained_rate: in hertz, of what it was trained on.
        any_rate: whether it takes sounds of other rates.
        least_seconds: length of a clip that leaves something of it.
        num_parameters: about.
        layers: channels of each layer that can be looked at, from the input to the output.
        single: layers of one frame, which are about a whole clip.
        masks_padding: whether it was trained on clips without padding, so that what it makes of padding is left out.
        trainable: whether gradients go through it.
        file: the published weights.
        licence: of the weights.
        citation: of what describes it.
        architecture: what it is built from where that is not known before the weights are; a checkpoint keeps it.
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
        """Options of a feature or model by which the same network is built where its files are not."""
        return {} if self.architecture is None else {"architecture": dict(self.architecture)}

    @abstractmethod
    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """What each layer makes of the clips, over time."""

    @abstractmethod
    def load(self) -> None:
        """Take the published weights; on the meta device nothing is taken, but everything is checked.

        Raises:
            ConfigError: they are not on this machine, or damaged.
        """


def full_precision(waveform: Float[Tensor, "batch time"]) -> AbstractContextManager[object]:
    """Computation outside autocast: power spectra overflow float16, and their logarithms lose digits in bfloat16."""
    return nullcontext() if waveform.is_meta else torch.autocast(waveform.device.type, enabled=False)


def read_tensors(file: WeightFile, title: str, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a file that torch wrote, by name; nothing in it is executed.

    Args:
        file: of a state dict, or of a mapping with one under ``model`` or ``state_dict``.
        title: of the network, for messages.
        device: where to put them.

    Raises:
        ConfigError: it cannot be had, is damaged, or holds no tensors.
    """
    path = file.path()
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, UnpicklingError, ValueError) as error:
        raise ConfigError(f"{path} holds no weights of {title}: {error!r}"[:300]) from error
    for key in ("model", "state_dict"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{path} holds a {type(stored).__name__}, expected the weights of {title}")
    return {name: value for name, value in stored.items() if isinstance(value, Tensor)}


def load_tensors(network: nn.Module, stored: Mapping[str, Tensor], file: WeightFile, title: str) -> None:
    """Give a network its published tensors, all of them; what else is stored beside them is left out.

    Raises:
        ConfigError: some are missing, or of another shape.
    """
    try:
        network.load_state_dict({name: stored[name] for name in network.state_dict()})
    except KeyError as error:
        raise ConfigError(f"{file.path()} holds no weights of {title}: {error} is missing") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{file.path()} holds no weights of {title}: {reason}") from error
