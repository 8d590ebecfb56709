"""Vision transformers on spectrograms in timm's format on the Hugging Face hub, such as AudioMAE."""

import math
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError
from audio_lightning.models.hub import CONFIG, read_object, read_weights
from audio_lightning.models.pretrained.backbone import Backbone, full_precision, load_tensors
from audio_lightning.models.pretrained.encoder_inputs import AUDIOSET_DEVIATION, AUDIOSET_MEAN, EMBEDDING, Patches
from audio_lightning.models.pretrained.hub_files import OPTION, HubFolder

RATE = 16_000

MOST_BANDS = 128
"""Maximum number of mel bands; with more, frames of 25 ms at 16 kHz have bands without any frequency of the FFT."""

LARGEST = 2**14
"""Maximum size in a description; the largest networks of timm have widths of some thousands."""

IMAGE_STATISTICS = ((0.5, 0.5), (0.449, 0.226))
"""Means and standard deviations of grey images, from 0 to 1, which timm writes by default."""

HEADS = frozenset({"classifier", "fc", "head", "head_dist"})
"""Names of modules that belong to a classifier."""

SIZES = frozenset({"img_size", "patch_size"})
"""Arguments of a network that are one number or two, time first."""

MODEL_ARGS: Mapping[str, type] = MappingProxyType(
    {
        **dict.fromkeys(("depth", "embed_dim", "in_chans", "num_heads", "reg_tokens"), int),
        **dict.fromkeys(("init_values", "mlp_ratio"), float),
        **dict.fromkeys(
            (
                "class_token", "dynamic_img_pad", "dynamic_img_size", "fc_norm", "final_norm", "no_embed_class",
                "pool_include_prefix", "pre_norm", "proj_bias", "qk_norm", "qkv_bias", "scale_attn_norm",
                "scale_mlp_norm", "strict_img_size", "swiglu_mlp", "use_abs_pos_emb", "use_rel_pos_bias",
                "use_rot_pos_emb", "use_shared_rel_pos_bias",
            ),
            bool,
        ),
        **dict.fromkeys(("act_layer", "embed_norm_layer", "global_pool", "norm_layer", "pos_embed"), str),
    }
)  # fmt: skip
"""Arguments of a network that a description may set, in addition to :data:`SIZES`, with their types."""

LEFT_OUT = frozenset(
    {
        "attn_drop_rate", "drop_path_rate", "drop_rate", "fix_init", "num_classes", "patch_drop_rate",
        "pos_drop_rate", "proj_drop_rate", "weight_init",
    }
)  # fmt: skip
"""Ignored arguments: for the head, for the initialization, and for dropout, as all patches of all layers are used."""


class TimmEncoder(Backbone):
    """Vision transformer of timm on Kaldi's filter bank, as AudioMAE is published on the Hugging Face hub.

    The front end (:class:`Patches`) is the same as for the Audio Spectrogram Transformer and AudioMAE: natural
    logarithms of the energy in mel bands, windows of 25 ms every 10 ms, at 16 kHz. Clips with fewer frames than the
    network has positions for are padded with zeros; longer clips are cut. A description seldom contains the mean and
    the standard deviation of the energies. Without them, or with the values of images, the values of AudioSet are used,
    as on the model cards of AudioMAE.

    The layers from ``layer1`` on are the outputs of the blocks, ``[batch, channels, frames]``: means over the
    frequencies, a frame for each patch, without padding. ``embedding``, with one frame, is the input of the classifier.

    Only code of the installed package runs; no code is downloaded, and nothing in the folder is executed. Published
    tensors keep timm's names; tensors of a classifier are ignored.

    Sources: Huang, P.-Y., et al. (2022). Masked Autoencoders that Listen. NeurIPS; the model cards of
    ``gaunernst/vit_base_patch16_1024_128.audiomae_as2m`` and of its fine-tuned version; timm's ``models/_hub.py``.

    Args:
        sample_rate: rate of the waveforms in hertz; 16,000 are expected.
        source: folder in the layout of the Hugging Face hub, or name on it; None if the weights come from a checkpoint.
        architecture: None, or the :attr:`architecture` of such a network, from which it is built without the folder.

    Raises:
        ConfigError: timm is not installed; or the source is not available, is damaged, or does not describe a network
            that takes spectrograms of one channel.
    """

    trained_rate = RATE
    any_rate = False
    licence = "see the model's page"
    citation = (
        "Wightman, R. (2019). PyTorch Image Models. doi:10.5281/zenodo.4414861; for the weights, see the model's page"
    )

    def __init__(self, sample_rate: int, source: str | None, architecture: Mapping[str, Any] | None = None) -> None:
        super().__init__(sample_rate)
        self.file = HubFolder(source)
        if architecture is None:
            folder = self.file.path()
            described, where = _described(folder), str(folder / CONFIG)
        else:
            # A checkpoint may come from another author, so it is validated like a folder.
            described, where = dict(architecture), "the architecture"
        kept = _read(described, where)
        self.architecture = kept
        name, given = kept["architecture"], kept["model_args"]
        frames, bands = given["img_size"]
        self.title = f"timm's {name}"
        self.network, widths = _build(name, given, where)
        self.front_end = Patches(
            SimpleNamespace(num_mel_bins=bands, max_length=frames),
            {"sampling_rate": RATE, "do_normalize": True, "mean": kept["mean"], "std": kept["std"]},
        )
        self.least_seconds = self.front_end.least_samples / RATE
        self.num_parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self.layers = widths
        self.single = frozenset({EMBEDDING})

    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """Compute the outputs of the blocks over time, and the embedding."""
        with full_precision(waveform):
            spectrogram = self.front_end.spectrogram(waveform)
        last, maps = self.network.forward_intermediates(spectrogram.unsqueeze(1), output_fmt="NCHW")
        length, rows = self.front_end.config.max_length, maps[0].shape[2]
        columns = -(-self.front_end.frames(waveform.shape[-1]) * rows // length)
        found = [one.mean(3)[..., :columns] for one in maps]
        found.append(self.network.forward_head(last, pre_logits=True).unsqueeze(2))
        return dict(zip(self.layers, found, strict=True))

    def load(self) -> None:
        """Load the published weights; see :meth:`Backbone.load`."""
        folder = self.file.path()
        stored = read_weights(folder, next(self.network.parameters()).device, OPTION)
        load_tensors(self.network, stored, self.file, self.title)
        others = [repr(name)[:80] for name in stored.keys() - self.network.state_dict().keys() if not _of_head(name)]
        # The weights of another network can have all names and shapes of this one, and more.
        if others:
            raise ConfigError(
                f"{OPTION}: the weights in {folder} have {', '.join(sorted(others)[:3])}, which {self.title}, as "
                f"{CONFIG} describes it, does not have; correct its architecture or model_args"
            )


def is_timm(described: Mapping[str, Any]) -> bool:
    """Whether a description, from a folder or a checkpoint, describes a network of timm."""
    return "architecture" in described and "model_type" not in described


def _of_head(name: object) -> bool:
    """Whether a tensor belongs to a classifier."""
    return str(name).partition(".")[0] in HEADS


def _described(folder: Path) -> dict[str, Any]:
    """Read the relevant entries of a folder's description, in the layout that checkpoints store; check their kinds."""
    file = folder / CONFIG
    described = read_object(file, OPTION)
    published = described.get("pretrained_cfg", described)  # older descriptions are not nested
    given = described.get("model_args") or {}
    for key, value in (("pretrained_cfg", published), ("model_args", given)):
        if not isinstance(value, dict):
            raise ConfigError(f"{OPTION}: {file} has {key}={value!r:.80}, expected an object; see timm's save_for_hf")
    name = described.get("architecture")
    size = published.get("input_size")
    given = dict(given)
    if isinstance(size, list) and len(size) == 3:
        given.setdefault("in_chans", size[0])
        given.setdefault("img_size", size[1:])
    else:
        size = None
    missing = [key for key in ("in_chans", "img_size") if given.get(key) is None]
    if missing:
        raise ConfigError(
            f"{OPTION}: {file} has neither an input_size in pretrained_cfg nor {' and '.join(missing)} in model_args; "
            "add input_size=[1, FRAMES, BANDS] there"
        )
    statistics = {key: published[key] for key in ("mean", "std") if published.get(key) is not None}
    return {"architecture": name, "model_args": given, **statistics}


def _read(described: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Validate each value of a description, and return plain containers that can be stored in a checkpoint."""
    name, given = described.get("architecture"), described.get("model_args")
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.ASCII):
        raise ConfigError(
            f"{OPTION}: {where} has architecture={name!r:.80}, expected a name of timm.list_models(), such as "
            "vit_base_patch16_224; correct it"
        )
    if not isinstance(given, Mapping):
        raise ConfigError(f"{OPTION}: {where} has model_args={given!r:.80}, expected a mapping; correct it")
    arguments = {
        str(key): _argument(key, value, where)
        for key, value in given.items()
        if key not in LEFT_OUT and value is not None
    }
    channels, size = arguments.get("in_chans"), arguments.get("img_size")
    frames, bands = size if isinstance(size, list) else (size, size or 0)
    if channels != 1 or not isinstance(frames, int) or not 0 < bands <= MOST_BANDS:
        raise ConfigError(
            f"{OPTION}: {where} describes timm's {name} for inputs [{channels}, {frames}, {bands}], expected "
            f"spectrograms [1, FRAMES, BANDS] of at most {MOST_BANDS} bands; for a network on images, use "
            f"model=timm model.name={name}"
        )
    arguments["img_size"] = [frames, bands]
    return {"architecture": name, "model_args": arguments, **_statistics(described, where)}


def _argument(key: object, value: Any, where: str) -> Any:
    """Validate an argument of the network; only arguments without effects outside it are accepted."""
    if key in SIZES:
        plain = isinstance(value, Sequence) and not isinstance(value, str)
        numbers = list(value) if plain else [value]
        if (plain and len(numbers) != 2) or not all(type(n) is int and 0 < n <= LARGEST for n in numbers):
            raise ConfigError(
                f"{OPTION}: {where} has {key}={value!r:.80}; use a number from 1 to {LARGEST}, or two, time first"
            )
        return numbers if plain else value
    kind: Any = MODEL_ARGS.get(key) if isinstance(key, str) else None
    if kind is None:
        raise ConfigError(
            f"{OPTION}: {where} has an argument {key!r:.80} in model_args, which is not supported; use only: "
            f"{', '.join(sorted({*SIZES, *MODEL_ARGS}))}"
        )
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ConfigError(f"{OPTION}: {where} has {key}={value!r:.80}; use a value of type {kind.__name__}")
    if kind in (int, float) and not 0 <= value <= LARGEST:  # also refuses NaN
        raise ConfigError(f"{OPTION}: {where} has {key}={value!r:.80}; use a number from 0 to {LARGEST}")
    return value


def _statistics(described: Mapping[str, Any], where: str) -> dict[str, float]:
    """Validate the mean and the standard deviation of the energies; by default, return the values of AudioSet."""
    found = {}
    for key, default in (("mean", AUDIOSET_MEAN), ("std", AUDIOSET_DEVIATION)):
        value = described.get(key, default)
        numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not numbers or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
            raise ConfigError(f"{OPTION}: {where} has {key}={value!r:.80}; use a finite number, or a list of one")
        found[key] = sum(numbers) / len(numbers)
    if found["std"] <= 0:
        raise ConfigError(f"{OPTION}: {where} has std={found['std']}; use a positive number")
    if any(math.dist(found.values(), pair) < 1e-3 for pair in IMAGE_STATISTICS):
        return {"mean": AUDIOSET_MEAN, "std": AUDIOSET_DEVIATION}
    return found


def _build(name: str, given: Mapping[str, Any], where: str) -> tuple[Any, dict[str, int]]:
    """Build the network with random weights; return it with the number of channels of each layer.

    It is first built and run on the meta device, because not every network of timm returns the outputs of its blocks.
    """
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{OPTION}: timm's {name} needs the package {error.name}; pip install 'audio-lightning[timm]'"
        ) from error
    if not timm.is_model(name):
        raise ConfigError(
            f"{OPTION}: {where} has architecture={name}, and timm {timm.__version__} has no such network"
            f"{did_you_mean(name, timm.list_models()) or '; a newer version may: pip install -U timm'}"
        )
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    try:
        with torch.device("meta"), torch.no_grad():
            probe = timm.create_model(name, pretrained=False, num_classes=0, **options).eval()
            unsuited, widths = _layers(probe, options["img_size"])
        network = probe if unsuited else timm.create_model(name, pretrained=False, num_classes=0, **options)
    except Exception as error:  # any exception of timm and torch: not all combinations of sizes are validated
        reason = " ".join(repr(error).split())[:200]
        settings = ", ".join(f"{key}={value!r:.80}" for key, value in given.items())
        raise ConfigError(
            f"{OPTION}: timm's {name} cannot be built with {settings}, which {where} describes: {reason}; "
            f"correct its model_args, or, if it is not a vision transformer, use model=timm model.name={name}"
        ) from error
    if unsuited:
        raise ConfigError(
            f"{OPTION}: {where} describes timm's {name}, {unsuited}; expected a vision transformer such as "
            f"vit_base_patch16_224; use this one by model=timm model.name={name}"
        )
    return network, widths


def _layers(network: Any, size: tuple[int, int]) -> tuple[str, dict[str, int]]:
    """Return why a network is unsuitable (empty if it is suitable), and the number of channels of its layers."""
    if not all(callable(getattr(network, part, None)) for part in ("forward_intermediates", "forward_head")):
        return "which does not return the outputs of its blocks (forward_intermediates)", {}
    if len(grid := tuple(getattr(getattr(network, "patch_embed", None), "grid_size", None) or ())) != 2:
        return "which has no grid of patches (patch_embed.grid_size)", {}
    last, maps = network.forward_intermediates(torch.empty(1, 1, *size), output_fmt="NCHW")
    if not maps or any(one.shape[2:] != grid for one in maps):
        return "whose layers are not all on one grid of patches", {}
    embedding = network.forward_head(last, pre_logits=True)
    if embedding.dim() != 2:
        return f"whose embedding has the shape {list(embedding.shape)}, not [batch, channels]", {}
    widths = {f"layer{number}": one.shape[1] for number, one in enumerate(maps, 1)}
    return "", {**widths, EMBEDDING: embedding.shape[1]}
