"""Published networks by name."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.padding import sound_frames
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.speech_embedding import SpeechEmbedding

BACKBONES: Mapping[str, type[Backbone]] = MappingProxyType({"aisfx": AISFX, "speech_embedding": SpeechEmbedding})
"""Published networks whose architecture is known, by the names that ``backbone`` takes."""

Layers = Literal["all", "last"] | Sequence[str]


def make_backbone(
    name: str, sample_rate: int | None, *, architecture: Mapping[str, Any] | None = None, option: str = "backbone"
) -> Backbone:
    """Build a published network with weights at random.

    Args:
        name: one of :data:`BACKBONES`.
        sample_rate: of the clips, in hertz; None: that of the network's training.
        architecture: what a checkpoint kept of a network that is in no table.
        option: that ``name`` is the value of, for messages.

    Raises:
        ConfigError: there is no such network, or it takes no sounds of that rate.
    """
    if name not in BACKBONES:
        raise ConfigError(f"{option}={name}: no such network" + did_you_mean(name, BACKBONES, listing="expected"))
    cls = BACKBONES[name]
    network = cls(sample_rate or cls.trained_rate)
    if not network.any_rate and network.sample_rate != network.trained_rate:
        raise ConfigError(
            f"{option}={name} takes sounds of {network.trained_rate} Hz, and the clips have {sample_rate} Hz: use "
            f"data.sample_rate={network.trained_rate}"
        )
    return network


def required_rate(name: str) -> int | None:
    """The only sample rate in hertz that a published network takes; None where it takes others, or is none."""
    cls = BACKBONES.get(name)
    return None if cls is None or cls.any_rate else cls.trained_rate


def chosen_layers(layers: Layers, network: Backbone) -> list[str]:
    """Names of the layers of a network that an option means: ``all``, ``last``, or some of them.

    Raises:
        ConfigError: there is no such layer, or the list is empty.
    """
    names = list(network.layers)
    chosen = names if layers == "all" else names[-1:] if layers == "last" else list(layers)
    for name in chosen:
        require_choice("layers", name, names)
    if not chosen:
        raise ConfigError(f"layers is empty, expected all, last, or some of: {', '.join(names)}")
    return chosen


def layers_of(
    network: Backbone, waveform: Float[Tensor, "batch time"]
) -> tuple[dict[str, Float[Tensor, "batch channels frames"]], dict[str, Bool[Tensor, "batch frames"]] | None]:
    """The layers of a network for clips, and the frames of each that count; None where all do.

    Zeros follow clips that are too short for the network.
    """
    short = math.ceil(network.least_seconds * network.sample_rate) - waveform.shape[-1]
    padded = functional.pad(waveform, (0, max(0, short)))
    found = network(padded)
    if not network.masks_padding or waveform.is_meta:
        return found, None
    return found, {name: sound_frames(padded, layer.shape[2]) for name, layer in found.items()}
