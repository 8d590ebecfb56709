"""Low-rank adapters (LoRA): two small matrices for each layer, trained instead of its weights."""

import copy
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from audio_lightning.config.automatic import AUTO
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.targets import REFUSALS
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.models.base import AudioModel

DEFAULTS: dict[str, Any] = {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": AUTO, "layers": None}
"""Keys of ``finetune.lora`` and their defaults. Checkpoints set ``layers``, names of layers, instead of ``targets``."""

DOWN, UP = ".lora_A.default.weight", ".lora_B.default.weight"
"""Suffixes of the names of an adapter's two matrices: from the layer's input to the rank, and on to its output."""

BASE = ".base_layer."
"""Part of the name of a layer's own weights that the package peft inserts if the layer has an adapter."""

INPUTS = re.compile(r"(q|k|v|qkv|query|key|value)(_proj)?|linear_[qkv]|to_(q|k|v|qkv)|query_key_value")
"""Names of attention's query, key and value projections in timm, torchaudio, transformers and this package."""

OUTPUTS = ("proj", "out_proj", "o_proj", "linear_out", "to_out", "out")
"""Names of the output projection in the same modules."""

MAX_NAMED = 8
"""Maximum number of layers that an error message lists."""


def adapter_settings(finetune: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the complete adapter settings of a configuration's node ``finetune``; None if it has none.

    Raises:
        ConfigError: an unknown key, or an invalid value.
    """
    given = (finetune or {}).get("lora")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ConfigError(f"finetune.lora={given}: expected its keys, as in finetune.lora.rank=8")
    if unknown := given.keys() - DEFAULTS.keys():
        name = min(unknown)
        listed = DEFAULTS.keys() - {"layers"}
        raise ConfigError(f"there is no key finetune.lora.{name}" + did_you_mean(name, listed, listing="there are"))
    settings = DEFAULTS | dict(given)
    rank, alpha, dropout, targets = (settings[key] for key in ("rank", "alpha", "dropout", "targets"))
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ConfigError(f"finetune.lora.rank={rank}: expected a whole number, at least 1")
    if not _is_number(alpha) or not 0 < alpha < float("inf"):
        raise ConfigError(f"finetune.lora.alpha={alpha}: expected a number above 0")
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise ConfigError(f"finetune.lora.dropout={dropout}: expected at least 0.0 and less than 1.0")
    if targets != AUTO and not (_is_list(targets) and targets and all(isinstance(name, str) for name in targets)):
        raise ConfigError(f"finetune.lora.targets={targets}: expected auto, or a list of names such as [q_proj,v_proj]")
    return settings


def add_adapters(network: AudioModel, finetune: Mapping[str, Any] | None) -> None:
    """Add adapters (Hu et al. 2021, arXiv 2106.09685) to layers of a network, in place, if ``finetune`` defines them.

    The output of a layer becomes ``W x + alpha / rank * B A x``. ``B`` is initialized with zeros, so that the network's
    output does not change at first. Afterwards, only adapters and head require gradients.

    Args:
        network: network with its initial weights, or on the meta device.
        finetune: the node of a configuration.

    Raises:
        ConfigError: the package peft is missing, a setting is invalid, or no layer can have an adapter.
    """
    settings = adapter_settings(finetune)
    if settings is None:
        return
    peft = _peft()
    names = settings["layers"]
    if names is None:
        names = _target_layers(network, settings["targets"])
    head = [parameter for parameter in network.stages()["head"] if parameter.requires_grad]
    config = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        # As a regular expression: peft also matches a name in a list with the ends of other names.
        target_modules="|".join(map(re.escape, names)),
    )
    peft.inject_adapter_in_model(config, network)
    for parameter in head:  # peft freezes all parameters that are not adapters
        parameter.requires_grad_(True)
    for name in names:
        adapted: Any = network.get_submodule(name)
        for size in adapted.base_layer.__constants__:  # such as the stride, which some networks read
            if not hasattr(adapted, size):
                setattr(adapted, size, getattr(adapted.base_layer, size))
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            # In evaluation, its fused kernel would read the layers' weights and ignore the adapters.
            module.activation_relu_or_gelu = 0


def saved_adapters(finetune: Mapping[str, Any] | None, state: Iterable[str]) -> dict[str, Any] | None:
    """Return the node ``finetune`` for building a classifier that loads a checkpoint: only its adapters.

    They are added to the layers that have them in the checkpoint, because the layers of ``targets: auto`` may differ
    between versions of a library.

    Args:
        finetune: the node of the checkpoint's configuration.
        state: names of the weights in the checkpoint.
    """
    found = (finetune or {}).get("lora")
    if not isinstance(found, Mapping):
        return None
    layers = [name.removeprefix("network.").removesuffix(DOWN) for name in state if name.endswith(DOWN)]
    return {"lora": {**found, "layers": layers}}


def is_adapter(name: str) -> bool:
    """Return whether a weight belongs to an adapter, by its name."""
    return name.endswith((DOWN, UP))


def plain_name(name: str) -> str:
    """Return the name of a weight in a network without adapters."""
    return name.replace(BASE, ".")


def merge_adapters(state: Mapping[str, Tensor], finetune: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Merge adapters into the weights of their layers, which gives the same outputs without adapters.

    Args:
        state: state dict of the network with adapters.
        finetune: the node of its configuration.

    Raises:
        CheckpointError: an adapter does not fit its layer.
    """
    settings = adapter_settings(finetune)
    found = {plain_name(name): value for name, value in state.items() if not is_adapter(name)}
    for name in state:
        if settings is not None and name.endswith(DOWN):
            layer = name.removesuffix(DOWN)
            try:
                down, up, weight = state[name], state[layer + UP], found[f"{layer}.weight"]
                # A convolution with the layer's kernel, then one of 1 x 1: their product is a kernel, too.
                product = (up.flatten(1) @ down.flatten(1)).view_as(weight)
            except (KeyError, RuntimeError) as error:
                raise CheckpointError(f"the adapter of {layer} does not fit that layer: {error}") from error
            found[f"{layer}.weight"] = weight + settings["alpha"] / len(down) * product
    return found


def _peft() -> Any:
    try:
        return import_module("peft")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"finetune=lora needs the package {error.name}; pip install 'audio-lightning[lora]'"
        ) from error


def _target_layers(network: AudioModel, targets: str | Sequence[str]) -> list[str]:
    """Names of the layers that ``targets`` selects: ``auto``, or ends of names."""
    layers, model = _adaptable(network), network.title.lower()
    called = _called(network, layers)
    if targets == AUTO:
        projections = _projections(layers)
        chosen = (
            projections if projections and called.issuperset(projections) else [*filter(called.__contains__, layers)]
        )
        if not chosen:
            raise ConfigError(
                f"finetune=lora: {model} has no layer before its head that supports adapters; use finetune=full"
            )
        return chosen
    some = ", ".join(itertools.islice(dict.fromkeys(map(_end, filter(called.__contains__, layers))), MAX_NAMED))
    found: list[str] = []
    for target in targets:
        ending = [name for name in layers if f".{name}".endswith(f".{target}")]
        if not ending:
            raise ConfigError(
                f"finetune.lora.targets: before its head, {model} has no linear layer and no convolution in one group, "
                f"without dilation, called {target}; use one of: {some}, ..."
            )
        if passed := [name for name in ending if name not in called]:
            raise ConfigError(
                f"finetune.lora.targets: {model} reads the weights of {passed[0]} without calling that layer, so an "
                f"adapter would have no effect; use auto, or others: {some}, ..."
            )
        found += ending
    return list(dict.fromkeys(found))


def _adaptable(network: AudioModel) -> list[str]:
    """Names of the layers before the head for which peft supports adapters.

    By their exact types, because subclasses may compute something else.
    """
    head = {id(parameter) for parameter in network.stages()["head"]}
    return [name for name, layer in network.named_modules() if _is_plain(layer) and id(layer.weight) not in head]


def _is_plain(layer: Any) -> bool:
    if type(layer) in (nn.Conv1d, nn.Conv2d):
        # The adapter's convolution has the layer's kernel, stride and padding, but no dilation, and zero padding.
        return layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear


def _projections(layers: Sequence[str]) -> list[str]:
    """Projections of attention: query, key, value and output."""
    inputs = {name for name in layers if INPUTS.fullmatch(name.rpartition(".")[2])}
    blocks = {name.rpartition(".")[0] for name in inputs}
    outputs = {f"{block}.{name}" for block in blocks for name in OUTPUTS}
    outputs |= {f"{block.removesuffix('.self')}.output.dense" for block in blocks}  # as in BERT
    return [name for name in layers if name in inputs or name in outputs]


def _called(network: AudioModel, layers: Collection[str]) -> set[str]:
    """Return the layers that the network calls; all of them if the network cannot be run.

    Hand-written or fused attention reads the weights of a layer without calling it.
    """
    for device in dict.fromkeys((torch.device("meta"), next(network.parameters()).device)):
        with suppress(*REFUSALS), torch.no_grad(), torch.random.fork_rng(devices=()):
            moved = _copied(network, device).eval()
            calls = {name: _Calls(moved.get_submodule(name)) for name in layers}
            moved(torch.zeros(2, *network.quick_dims(), device=device))
            return {name for name in layers if calls[name].happened}
    return set(layers)


class _Calls:
    """Record whether a layer has been called."""

    def __init__(self, layer: nn.Module) -> None:
        self.happened = False
        layer.register_forward_pre_hook(self._happen)

    def _happen(self, *_: Any) -> None:
        self.happened = True


def _copied(network: AudioModel, device: torch.device) -> AudioModel:
    """Copy a network for one run without allocating weights: on the meta device, or sharing the network's own."""
    memo: dict[int, Any] = {id(buffer): buffer.to(device) for buffer in network.buffers()}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
    return copy.deepcopy(network, memo)


def _end(name: str) -> str:
    """Short name of a layer: the last part of its name, unless that is a number."""
    last = name.rpartition(".")[2]
    return name if last.isdigit() else last


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
