"""Published weights: folders of the Hugging Face hub, ``config.json`` and the tensors by name, and files of torch."""

import json
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape

CONFIG, SAFETENSORS, PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"

PRETRAINED = "model.pretrained"
"""The option that names weights, where nothing else is said; messages begin with it."""


def hub_folder(name: str, option: str = PRETRAINED) -> Path:
    """The folder that an option means: one that is there, or a model of the hub, downloaded once.

    Args:
        name: path of a folder, or name on the hub, such as ``MIT/ast-finetuned-audioset-10-10-0.4593``.
        option: the one that holds the name, for messages.

    Raises:
        ConfigError: there is no such folder, and it cannot be downloaded; or one without weights.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(name, option)
    if not any((folder / file).is_file() for file in (SAFETENSORS, PICKLED)):
        raise ConfigError(f"{option}: {folder} holds neither {SAFETENSORS} nor {PICKLED}")
    return folder


def torch_file(name: str, url: str) -> Path:
    """A file of weights in torch's folder for such, downloaded once.

    Args:
        name: the value of ``pretrained``, for messages.
        url: where it is published.

    Raises:
        ConfigError: it is not there and cannot be downloaded.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (OSError, HTTPException, RuntimeError) as error:  # no network, or a broken connection
            raise ConfigError(
                f"model.pretrained={name} cannot be downloaded ({error}): get {url} elsewhere and put it at {path}"
            ) from error
    return path


def read_object(file: Path, option: str = PRETRAINED) -> dict[str, Any]:
    """What a file of JSON says.

    Args:
        file: such as the description of a network.
        option: the one that named the folder, for messages.

    Raises:
        ConfigError: the file is missing, damaged, or holds no object.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}: {file} cannot be read: {error}") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{option}: {file} holds a {type(stored).__name__}, expected an object")
    return stored


def read_preprocessor(folder: Path, option: str = PRETRAINED) -> dict[str, Any]:
    """How sounds were brought to a network, empty where the folder does not say.

    Args:
        folder: with the description of it, alone or with that of other inputs.
        option: the one that named the folder, for messages.

    Raises:
        ConfigError: the description is damaged.
    """
    if (file := folder / PROCESSOR).is_file():
        nested = read_object(file, option).get("feature_extractor")
        if isinstance(nested, dict):
            return nested
    return read_object(file, option) if (file := folder / PREPROCESSOR).is_file() else {}


def read_architecture(
    folder: Path, defaults: Mapping[str, Any], only: Mapping[str, Sequence[Any]], *, expected: str
) -> dict[str, Any]:
    """The sizes and kinds of layers that the description of a network gives.

    Args:
        folder: with the description.
        defaults: the entries that matter, and what they are where the description has none.
        only: by entry, the values that can be built; the first is that of a description without the entry.
        expected: what the network should be, for messages.

    Raises:
        ConfigError: the description is missing, no JSON object, or of another network.
    """
    file = folder / CONFIG
    config = read_object(file)
    for name, values in only.items():
        if (value := config.get(name, values[0])) not in values:
            allowed = " | ".join(map(str, values))
            raise ConfigError(f"model.pretrained: {file} has {name}={value}, expected {allowed}: {expected}")
    architecture = {name: config.get(name, default) for name, default in defaults.items()}
    for name, value in architecture.items():
        if type(value) is not type(defaults[name]):
            raise ConfigError(
                f"model.pretrained: {file} has {name}={value!r}, expected a value like {defaults[name]}: {expected}"
            )
    return architecture


def read_sample_rate(folder: Path) -> int | None:
    """The rate in hertz of what a network was trained on, None where the folder does not say."""
    try:
        rate = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))["sampling_rate"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not everybody keeps that file, and the network is complete without
    return rate if isinstance(rate, int) else None


def check_sample_rate(pretrained: str | bool | None, published: int | None, shape: FeatureShape) -> None:
    """To weights that heard another rate, all sounds would be lower or higher than they are.

    Raises:
        ConfigError: both rates are known, and they differ.
    """
    if None not in (published, shape.sample_rate) and published != shape.sample_rate:
        raise ConfigError(
            f"model.pretrained={pretrained}: these weights were trained on sounds of {published} Hz, and the clips "
            f"have {shape.sample_rate} Hz: use data.sample_rate={published}"
        )


def read_weights(path: Path, device: torch.device, option: str = PRETRAINED) -> dict[str, Tensor]:
    """The tensors by name; nothing in the file is executed.

    Args:
        path: a folder of the hub, or a file that torch wrote.
        device: where to put them.
        option: the one that named the path, for messages.

    Raises:
        ConfigError: the weights are damaged, or no tensors.
    """
    try:
        if (path / SAFETENSORS).is_file():
            return {name: tensor.to(device) for name, tensor in load_file(path / SAFETENSORS).items()}
        file = path / PICKLED if path.is_dir() else path
        stored = torch.load(file, map_location=device, weights_only=True)
    except (
        OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError, KeyError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise ConfigError(f"{option}: the weights in {path} cannot be read: {error!r}"[:300]) from error
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{option}: {file} holds a {type(stored).__name__}, expected tensors")
    return dict(stored)


def by_hand(name: str, option: str) -> str:
    """What brings a model of the hub to a machine that may not download it."""
    described = CONFIG if option == PRETRAINED else f"{CONFIG}, {PREPROCESSOR}"  # there, it says how sounds are seen
    return (
        f"get {described} and {SAFETENSORS} (or {PICKLED}) from https://huggingface.co/{name}/tree/main "
        f"into a folder and give it as {option}=FOLDER"
    )


def _download(name: str, option: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ConfigError(f"{option}={name}: no such folder, expected one with {CONFIG} and {SAFETENSORS}")
    remedy = by_hand(name, option)
    try:
        hub = import_module("huggingface_hub")
        return Path(hub.snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, PROCESSOR, SAFETENSORS, PICKLED]))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{option}={name}: no such folder, and downloads need the package huggingface_hub: {remedy}"
        ) from error
    except Exception as error:  # whatever that package and its client for HTTP have as errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{option}={name} cannot be downloaded ({reason}): {remedy}") from error
