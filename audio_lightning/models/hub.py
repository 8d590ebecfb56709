"""Published weights: folders in the layout of the Hugging Face hub (``config.json`` and tensors), and torch files."""

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
README = "README.md"

PRETRAINED = "model.pretrained"
"""Default for the option that names the weights; error messages begin with it."""


def hub_folder(name: str, option: str = PRETRAINED) -> Path:
    """Return the folder of weights for an option: a local folder, or a model of the hub, downloaded once.

    Args:
        name: path of a folder, or name on the hub, such as ``MIT/ast-finetuned-audioset-10-10-0.4593``.
        option: option that holds the name, for messages.

    Raises:
        ConfigError: the folder does not exist and cannot be downloaded, or contains no weights.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _download(name, option)
    if not any((folder / file).is_file() for file in (SAFETENSORS, PICKLED)):
        raise ConfigError(f"{option}: {folder} holds neither {SAFETENSORS} nor {PICKLED}; download one into it")
    return folder


def cached_folder(name: str) -> Path | None:
    """Return the folder of weights if it is on this machine, without a download and without a check of its content.

    Args:
        name: path of a folder, or name on the hub.
    """
    if name.startswith(("//", "\\\\")):  # a name in a stranger's checkpoint must not connect to another machine
        return None
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
        hub = import_module("huggingface_hub")
        found = hub.try_to_load_from_cache(name, CONFIG)
    except (ModuleNotFoundError, RuntimeError, OSError, ValueError):  # invalid names and unknown users
        return None
    return Path(found).parent if isinstance(found, str) else None


def torch_file(name: str, url: str) -> Path:
    """Return a file of weights in torch's cache folder, downloaded once.

    Args:
        name: the value of ``pretrained``, for messages.
        url: address of the file.

    Raises:
        ConfigError: the file does not exist and cannot be downloaded.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (OSError, HTTPException, RuntimeError) as error:  # no network, or a broken connection
            raise ConfigError(
                f"model.pretrained={name} cannot be downloaded ({error}); get {url} elsewhere and put it at {path}"
            ) from error
    return path


def read_object(file: Path, option: str = PRETRAINED) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        file: path, for example of the description of a network.
        option: option that names the folder, for messages.

    Raises:
        ConfigError: the file is missing, damaged, or contains no object.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}: {file} cannot be read: {error}; download it again") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{option}: {file} holds a {type(stored).__name__}, expected an object; download it again")
    return stored


def read_preprocessor(folder: Path, option: str = PRETRAINED) -> dict[str, Any]:
    """Read the preprocessing that a network expects of its input; empty if the folder does not describe it.

    Args:
        folder: folder with the description, in a file of its own or together with other preprocessing.
        option: option that names the folder, for messages.

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
    """Read the sizes and kinds of layers from the description of a network.

    Args:
        folder: folder with the description.
        defaults: the entries to read, with their values if the description lacks them.
        only: supported values of some entries; the first one is the default.
        expected: kind of network, for messages.

    Raises:
        ConfigError: the description is missing, no JSON object, or of another network.
    """
    file = folder / CONFIG
    config = read_object(file)
    for name, values in only.items():
        if (value := config.get(name, values[0])) not in values:
            allowed = " | ".join(map(str, values))
            raise ConfigError(f"model.pretrained: {file} has {name}={value}, expected {allowed}; use {expected}")
    architecture = {name: config.get(name, default) for name, default in defaults.items()}
    for name, value in architecture.items():
        if type(value) is not type(defaults[name]):
            raise ConfigError(
                f"model.pretrained: {file} has {name}={value!r}, expected a value like {defaults[name]}; use {expected}"
            )
    return architecture


def read_sample_rate(folder: Path) -> int | None:
    """Sample rate in hertz of a network's training data; None if the folder does not contain it."""
    try:
        rate = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))["sampling_rate"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the file is optional, and the network is complete without it
    return rate if isinstance(rate, int) else None


def check_sample_rate(pretrained: str | bool | None, published: int | None, shape: FeatureShape) -> None:
    """Check that clips have the sample rate of the weights' training data; otherwise all pitches would be shifted.

    Raises:
        ConfigError: both rates are known and differ.
    """
    if None not in (published, shape.sample_rate) and published != shape.sample_rate:
        raise ConfigError(
            f"model.pretrained={pretrained}: these weights were trained on sounds of {published} Hz, and the clips "
            f"have {shape.sample_rate} Hz; use data.sample_rate={published}"
        )


def read_weights(path: Path, device: torch.device, option: str = PRETRAINED) -> dict[str, Tensor]:
    """Read the tensors of published weights by name; nothing in the file is executed.

    Args:
        path: a folder in the layout of the hub, or a file written by torch.
        device: device of the tensors.
        option: option that names the path, for messages.

    Raises:
        ConfigError: the weights are damaged, or not tensors.
    """
    try:
        if (path / SAFETENSORS).is_file():
            return {name: tensor.to(device) for name, tensor in load_file(path / SAFETENSORS).items()}
        file = path / PICKLED if path.is_dir() else path
        stored = torch.load(file, map_location=device, weights_only=True)
    except (
        OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError, KeyError, TypeError, ValueError
    ) as error:  # fmt: skip
        raise ConfigError(f"{option}: the weights in {path} cannot be read: {error!r:.200}; get them again") from error
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{option}: {file} holds a {type(stored).__name__}, expected tensors; download it again")
    return dict(stored)


def by_hand(name: str, option: str) -> str:
    """Instructions for a manual download of a model of the hub, for machines without access to it."""
    described = CONFIG if option == PRETRAINED else f"{CONFIG}, {PREPROCESSOR}"  # the latter describes the input
    return (
        f"get {described} and {SAFETENSORS} (or {PICKLED}) from https://huggingface.co/{name}/tree/main "
        f"into a folder and give it as {option}=FOLDER"
    )


def _download(name: str, option: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ConfigError(f"{option}={name}: no such folder; expected one with {CONFIG} and {SAFETENSORS}")
    remedy = by_hand(name, option)
    try:
        hub = import_module("huggingface_hub")
        # The card is read for the licence of the weights.
        files = [CONFIG, PREPROCESSOR, PROCESSOR, SAFETENSORS, PICKLED, README]
        return Path(hub.snapshot_download(name, allow_patterns=files))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{option}={name}: no such folder, and downloads need the package huggingface_hub; {remedy}"
        ) from error
    except Exception as error:  # any exception of that package and its client for HTTP
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{option}={name} cannot be downloaded ({reason}); {remedy}") from error
