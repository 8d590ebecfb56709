"""Published weights from which the training of a classifier started, with their licences."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from audio_lightning.core.errors import UserError
from audio_lightning.core.files import read_json, read_text, shortened
from audio_lightning.models.hub import CONFIG, README, cached_folder
from audio_lightning.models.pretrained.registry import BACKBONES, HUB

OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""Name of a model on the Hugging Face hub."""


@dataclass(frozen=True)
class Weights:
    """Published weights from which the training of a classifier started."""

    name: str
    licence: str
    citation: str = ""


def published_weights(configs: Iterable[Mapping[str, Any]]) -> list[Weights]:
    """Return the published initial weights of configurations, each once, from ``backbone`` or ``pretrained``."""
    return list(dict.fromkeys(found for config in configs for found in _published(config)))


def _published(config: Mapping[str, Any]) -> list[Weights]:
    found = []
    for node in (config["feature"], config["model"]):
        backbone, pretrained = node.get("backbone"), node.get("pretrained")
        name = HUB.sub("", str(backbone or pretrained))
        if not pretrained:
            continue
        if name in BACKBONES:
            network = BACKBONES[name]
            found.append(Weights(network.title, network.licence, network.citation))
        elif pretrained is True and backbone is None:
            cls = str(node.get("_target_") or "").rpartition(".")[2]
            found.append(Weights(f"the published weights of {cls}", "that of their publisher"))
        elif OWNER_AND_NAME.fullmatch(name):
            found.append(Weights(name, stated_licence(name) or f"that of https://huggingface.co/{name}"))
        else:
            found.append(Weights(PurePath(name).name, stated_licence(name) or "that of the file or the run"))
    return found


def stated_licence(name: str) -> str | None:
    """Return the licences that the files of a network state, if they are on this machine; None if there are none.

    The card (``README.md``) and ``config.json`` may state different ones, such as ``cc-by-4.0, cc-by-nc-4.0``.

    Args:
        name: folder in the layout of the Hugging Face hub, or name on it.
    """
    folder = cached_folder(name)
    if folder is None:
        return None
    stated = [found for found in (_of_card(folder / README), _of_config(folder / CONFIG)) if found]
    return ", ".join(dict.fromkeys(stated)) or None


def _of_card(file: Path) -> str | None:
    """Licence in the header of a card; files may come from a stranger, and damaged ones state none."""
    try:
        parts = read_text(file).split("---\n", 2) if file.is_file() else []
        header = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (UserError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return _text(header.get("license_name") or header.get("license")) if isinstance(header, dict) else None


def _of_config(file: Path) -> str | None:
    """Licence in the description of a network, where timm writes it."""
    try:
        described = read_json(file) if file.is_file() else {}
    except UserError:
        return None
    published = described.get("pretrained_cfg")
    return _text((published if isinstance(published, dict) else described).get("license"))


def _text(value: object) -> str | None:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return shortened(value, 80) if isinstance(value, str) and value.strip() else None
