"""Registry of published networks by name."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError
from audio_lightning.features.padding import sound_frames
from audio_lightning.models.hub import CONFIG, read_object
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.backbone import Backbone, full_precision
from audio_lightning.models.pretrained.beats import BEATs, BEATsAudioSet, BEATsIter3
from audio_lightning.models.pretrained.dasheng import Dasheng, Dasheng06B, Dasheng12B, DashengAudioSet
from audio_lightning.models.pretrained.eat import EAT, SSLAM, EATAudioSet, EATLarge
from audio_lightning.models.pretrained.efficientat import MN04, MN05, MN10, MN20, MN40
from audio_lightning.models.pretrained.efficientat_dynamic import DyMN04, DyMN10, DyMN20
from audio_lightning.models.pretrained.efficientnet_lite0 import EfficientNetLite0
from audio_lightning.models.pretrained.hub_files import OPTION, HubFolder
from audio_lightning.models.pretrained.onnx_file import OnnxFile, stated_rate
from audio_lightning.models.pretrained.panns import CNN6, CNN10, CNN14, CNN14At8kHz, CNN14At16kHz
from audio_lightning.models.pretrained.speech_embedding import SpeechEmbedding
from audio_lightning.models.pretrained.timm_encoder import RATE, TimmEncoder, is_timm
from audio_lightning.models.pretrained.transformers_encoder import TransformersEncoder, encoder_rate

BACKBONES: Mapping[str, type[Backbone]] = MappingProxyType(
    {
        "aisfx": AISFX,
        "beats": BEATs,
        "beats_as2m": BEATsAudioSet,
        "beats_iter3": BEATsIter3,
        "cnn6": CNN6,
        "cnn10": CNN10,
        "cnn14": CNN14,
        "cnn14_16k": CNN14At16kHz,
        "cnn14_8k": CNN14At8kHz,
        "dasheng": Dasheng,
        "dasheng_06b": Dasheng06B,
        "dasheng_12b": Dasheng12B,
        "dasheng_as2m": DashengAudioSet,
        "dymn04_as": DyMN04,
        "dymn10_as": DyMN10,
        "dymn20_as": DyMN20,
        "eat": EAT,
        "eat_as2m": EATAudioSet,
        "eat_large": EATLarge,
        "efficientnet_lite0": EfficientNetLite0,
        "mn04_as": MN04,
        "mn05_as": MN05,
        "mn10_as": MN10,
        "mn20_as": MN20,
        "mn40_as": MN40,
        "speech_embedding": SpeechEmbedding,
        "sslam": SSLAM,
    }
)
"""Published networks with a known architecture, by the names that ``backbone`` accepts."""

ONNX = ".onnx"
"""Suffix of files that hold a whole network."""

HUB = re.compile(r"^hf[-_]hub:")
"""Prefix of names on the Hugging Face hub in timm's notation."""

Layers = Literal["all", "last"] | Sequence[str]


def make_backbone(
    name: str,
    sample_rate: int | None,
    *,
    pretrained: bool,
    architecture: Mapping[str, Any] | None = None,
    resample: bool = False,
    option: str = "backbone",
) -> Backbone:
    """Build a published network, with its weights or with random ones.

    Args:
        name: one of :data:`BACKBONES`; an ONNX file, ``FILE.onnx``; or an audio encoder of transformers or a vision
            transformer of timm on spectrograms: a folder in the layout of the Hugging Face hub, or a name on it, such
            as ``facebook/hubert-base-ls960`` or ``hf-hub:gaunernst/vit_base_patch16_1024_128.audiomae_as2m``.
        sample_rate: rate of the clips in hertz; None for the rate of the network's training data.
        pretrained: whether to load the published weights; if not, no files are looked up or downloaded.
        architecture: description that a checkpoint stores of a network that is not in :data:`BACKBONES`.
        resample: whether clips are resampled to the rate of the network, if it accepts only one.
        option: option that holds ``name``, for messages.

    Raises:
        ConfigError: there is no such network, its weights are not available, or it does not accept the sample rate.
    """
    network = _build(name, sample_rate, pretrained=pretrained, architecture=architecture, option=option)
    if not network.any_rate and network.clip_rate != network.trained_rate:
        if not resample:
            node = option.partition(".")[0]
            raise ConfigError(
                f"{option}={name} takes sounds of {network.trained_rate} Hz, and the clips have {sample_rate} Hz; use "
                f"data.sample_rate={network.trained_rate}, or {node}.resample=true"
            )
        network.sample_rate = network.trained_rate
    if pretrained:
        network.load()
    return network


def _build(
    name: str, sample_rate: int | None, *, pretrained: bool, architecture: Mapping[str, Any] | None, option: str
) -> Backbone:
    if (cls := BACKBONES.get(name)) is not None:
        network: Backbone = cls(sample_rate if sample_rate and cls.any_rate else cls.trained_rate)
        network.clip_rate = sample_rate or network.sample_rate
        return network
    if not is_described(name):
        listed = f"{', '.join(BACKBONES)}, FILE{ONNX}, or a folder or name of the Hugging Face hub"
        raise ConfigError(f"{option}={name}: no such network{did_you_mean(name, BACKBONES) or f'; expected {listed}'}")
    if architecture is None and not pretrained:
        raise ConfigError(
            f"{option}={name}: without its weights, the architecture of this network is unknown; use pretrained=true"
        )
    source = HUB.sub("", name) if architecture is None or pretrained else None
    if name.endswith(ONNX):
        file = OnnxFile(sample_rate or OnnxFile.trained_rate, source, architecture)
        if sample_rate is None:
            file.sample_rate = file.clip_rate = file.trained_rate
        return file
    described = _description(name) if architecture is None else architecture
    encoder: type[TimmEncoder | TransformersEncoder] = TimmEncoder if is_timm(described) else TransformersEncoder
    network = encoder(sample_rate or 0, source, architecture)
    network.sample_rate = network.clip_rate = sample_rate or network.trained_rate
    return network


def is_described(name: str) -> bool:
    """Whether a name refers to a network that is described by its own files."""
    return name.endswith(ONNX) or "/" in name or Path(name).expanduser().is_dir()


def required_rate(name: str) -> int | None:
    """Return the only sample rate in hertz that a network accepts; None if it accepts others, or does not exist.

    Raises:
        ConfigError: the network is described by its files, and these are not available.
    """
    if (cls := BACKBONES.get(name)) is not None:
        return None if cls.any_rate else cls.trained_rate
    if not is_described(name):
        return None
    if name.endswith(ONNX):
        return stated_rate(name)
    return RATE if is_timm(_description(name)) else encoder_rate(HUB.sub("", name))


def _description(name: str) -> dict[str, Any]:
    """Read the description in the folder of a network, which is downloaded once if necessary."""
    return read_object(HubFolder(HUB.sub("", name)).path() / CONFIG, OPTION)


def chosen_layers(layers: Layers, network: Backbone) -> list[str]:
    """Return the names of the layers that an option selects: ``all``, ``last``, or a list of names.

    Raises:
        ConfigError: there is no such layer, or the list is empty.
    """
    names = list(network.layers)
    chosen = names if layers == "all" else names[-1:] if layers == "last" else list(layers)
    for name in chosen:
        require_choice("layers", name, names)
    if not chosen:
        raise ConfigError(f"layers is empty; use all, last, or some of: {', '.join(names)}")
    return chosen


def layers_of(
    network: Backbone, waveform: Float[Tensor, "batch time"]
) -> tuple[dict[str, Float[Tensor, "batch channels frames"]], dict[str, Bool[Tensor, "batch frames"]] | None]:
    """Compute the layers of a network for clips, and for each layer a mask of its frames that are not padding.

    The mask is None if all frames count. Clips are resampled to the network's rate if necessary, and zeros are appended
    to clips that are too short for it.
    """
    waveform = _at_rate(waveform, network.clip_rate, network.sample_rate)
    short = math.ceil(network.least_seconds * network.sample_rate) - waveform.shape[-1]
    padded = functional.pad(waveform, (0, max(0, short)))
    found = network(padded)
    if not network.masks_padding or waveform.is_meta:
        return found, None
    return found, {name: sound_frames(padded, layer.shape[2]) for name, layer in found.items()}


def _at_rate(waveform: Float[Tensor, "batch time"], rate: int, wanted: int) -> Float[Tensor, "batch longer"]:
    """Resample waveforms; gradients flow through."""
    if rate == wanted:
        return waveform
    if waveform.is_meta:
        return waveform.new_empty(len(waveform), math.ceil(waveform.shape[-1] * wanted / rate))
    from audio_lightning.models.torchaudio_networks import resampled  # the import takes a second

    with full_precision(waveform):
        return resampled(waveform.float(), rate, wanted)
