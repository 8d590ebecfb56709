"""What is found out about trials before any of them starts: whether it can work, and on what recordings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from audio_lightning.config import build
from audio_lightning.errors import ConfigError, DataError


@dataclass(frozen=True)
class Finding:
    """What is known of a trial before it starts.

    Attributes:
        impossible: why it cannot work, where it cannot.
        unusable: what is wrong with its recordings, where they cannot be used.
        content: see :func:`audio_lightning.sweeps.identity.fingerprints`; None where the recordings were not looked at.
        division: likewise.
    """

    impossible: str | None = None
    unusable: str | None = None
    content: str | None = None
    division: str | None = None


def examine(configs: Sequence[dict[str, Any]]) -> list[Finding]:
    """Examine trials, given by their resolved configurations; recordings that are not decoded yet are decoded.

    This imports what a training imports, and is meant for a process of its own.
    """
    found: dict[str, Finding] = {}
    return [_examine(config, found) for config in configs]


def folds_present(config: dict[str, Any]) -> list[int]:
    """The folds that the data of a configuration has, or is to be given.

    Raises:
        ConfigError: the data has no folds.
    """
    from audio_lightning.data.datamodule import AudioDataModule

    data = config["data"]
    if data["folds"] is not None:
        return list(range(1, data["folds"] + 1))
    if data["split"] not in ("folds", "auto"):
        raise ConfigError(f"sweep.folds: data.split={data['split']} has no folds; choose data.folds=5 to make some")
    manifest = build(OmegaConf.create(data), AudioDataModule, where="data").read()
    folds = sorted({int(fold) for fold in manifest.table["fold"] if fold >= 0})
    if len(folds) < 3:
        raise ConfigError(f"sweep.folds: the data has {len(folds)} folds, expected 3 or more; choose data.folds=5")
    return folds


def _examine(config: dict[str, Any], known: dict[str, Finding]) -> Finding:
    from audio_lightning.data.datamodule import AudioDataModule
    from audio_lightning.networks import check_networks
    from audio_lightning.task import AudioTask

    try:
        datamodule = build(OmegaConf.create(config["data"]), AudioDataModule, where="data")
        shape = AudioTask(("a", "b"), datamodule.sample_rate, datamodule.num_samples, datamodule.padding)
        check_networks(config, shape)
    except ConfigError as error:
        return Finding(impossible=str(error))
    key = json.dumps(config["data"], sort_keys=True, default=str)
    if key not in known:
        known[key] = _open(datamodule)
    return known[key]


def _open(datamodule: Any) -> Finding:
    from audio_lightning.sweeps.identity import fingerprints
    from audio_lightning.training.progress import decoding_shown

    try:
        with decoding_shown(datamodule):
            datamodule.setup()
    except DataError as error:
        return Finding(unusable=str(error))
    return Finding(None, None, *fingerprints(datamodule))


def gpus() -> int:
    """GPUs that this machine has."""
    import torch

    return torch.cuda.device_count()
