"""Published weights in the layout of the Hugging Face hub: a folder with ``config.json`` and the tensors by name."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audio_lightning.errors import ConfigError

CONFIG, SAFETENSORS, PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"

# Data types of the format, https://github.com/huggingface/safetensors; numpy has no bfloat16, so all go by torch.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


def hub_folder(name: str) -> Path:
    """The folder that ``pretrained`` means: one that is there, or a model of the hub, downloaded once.

    Args:
        name: path of a folder, or name on the hub, such as ``MIT/ast-finetuned-audioset-10-10-0.4593``.

    Raises:
        ConfigError: there is no such folder, and it cannot be downloaded.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        raise ConfigError(f"model.pretrained={name}: no such folder, expected one with {CONFIG} and {SAFETENSORS}")
    by_hand = (
        f"get {CONFIG} and {SAFETENSORS} from https://huggingface.co/{name}/tree/main "
        "into a folder and give it as model.pretrained=FOLDER"
    )
    try:
        hub = import_module("huggingface_hub")
        return Path(hub.snapshot_download(name, allow_patterns=[CONFIG, SAFETENSORS, PICKLED]))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"model.pretrained={name}: no such folder, and downloads need the package huggingface_hub: {by_hand}"
        ) from error
    except Exception as error:  # whatever that package and its client for HTTP have as errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model.pretrained={name} cannot be downloaded ({reason}): {by_hand}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The description of the architecture.

    Raises:
        ConfigError: it is missing or no JSON object.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.pretrained: {folder / CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"model.pretrained: {folder / CONFIG} holds a {type(config).__name__}, expected an object")
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors by name; nothing in the file is executed.

    Raises:
        ConfigError: there is no file of weights, or it is damaged.
    """
    try:
        if (folder / SAFETENSORS).is_file():
            return _read_safetensors(folder / SAFETENSORS)
        stored = torch.load(folder / PICKLED, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"model.pretrained: {folder} holds neither {SAFETENSORS} nor {PICKLED}") from error
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"model.pretrained: the weights in {folder} cannot be read: {error!r}"[:300]) from error
    if not isinstance(stored, Mapping):
        raise ConfigError(f"model.pretrained: {folder / PICKLED} holds a {type(stored).__name__}, expected tensors")
    return dict(stored)


def check_sizes(folder: Path, config: Mapping[str, Any], options: Mapping[str, tuple[str, Any]]) -> None:
    """Hold a model's options against the published architecture.

    Args:
        folder: where the description is, for the message.
        config: the description.
        options: by option, its name in the description and its value.

    Raises:
        ConfigError: they differ; the message has the options to give.
    """
    wrong = {option: config.get(name) for option, (name, value) in options.items() if config.get(name) != value}
    if wrong:
        give = " ".join(f"model.{option}={value}" for option, value in wrong.items())
        raise ConfigError(f"model.pretrained: {folder} holds a network of another size: give {give}")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    """Length of the header in 8 bytes, header as JSON with type, shape and place of each tensor, and the tensors."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("its header is longer than the file")
        header: dict[str, Any] = json.loads(stream.read(length))
        data = torch.from_numpy(np.fromfile(stream, dtype=np.uint8))
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        # A copy of its own: a tensor may begin at an odd byte.
        tensors[name] = data[start:stop].clone().view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
