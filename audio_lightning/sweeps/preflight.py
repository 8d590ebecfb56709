"""Pre-flight checks of trials: whether each can work, and a fingerprint of its recordings."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from audio_lightning.config.automatic import AUTOMATIC, keys_of_recordings
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.sweeps.identity import digest

if TYPE_CHECKING:
    from audio_lightning.data.datamodule import AudioDataModule

LOADING = ("seed", "batch_size", "num_workers", "resident", "sampling")
"""Keys of the data that say in which batches clips come."""

BUILT = ("feature", "augment", "model", "finetune", "loss", "optimizer", "scheduler")
"""What is built of a configuration, and may not be possible."""


@dataclass(frozen=True)
class Preflight:
    """Result of the pre-flight check of a trial.

    Attributes:
        impossible: why the trial cannot work, if it cannot.
        unusable: what is wrong with its recordings, if they cannot be used.
        content, division: fingerprints of the recordings (:mod:`audio_lightning.data.store.fingerprints`).
    """

    impossible: str | None = None
    unusable: str | None = None
    content: str | None = None
    division: str | None = None


def preflight(configs: Sequence[dict[str, Any]]) -> list[Preflight]:
    """Check trials, given by their resolved configurations; recordings that are not decoded yet are decoded.

    This imports what a training imports, and is meant for a process of its own.
    """
    impossible: dict[str, str | None] = {}
    opened: dict[str, Preflight] = {}
    return [_preflight(config, impossible, opened) for config in configs]


def settle_automatic(configs: Sequence[dict[str, Any]], quiet: bool = False) -> list[dict[str, Any]]:
    """What is ``auto`` and follows from the recordings, from the key to the value; as above for a process of its own.

    Nothing where the data cannot be used, which the pre-flight check says.

    Args:
        configs: resolved configurations.
        quiet: print no values.
    """
    from audio_lightning.training.setup import settled_data

    settled: dict[str, dict[str, Any]] = {}
    keys = []
    for config in configs:
        tree, automatic = OmegaConf.create(config), keys_of_recordings(config)
        given = [OmegaConf.select(tree, key) for key in AUTOMATIC]
        keys.append(digest([config["data"], given]))
        if keys[-1] not in settled:
            with suppress(DataError):
                settled_data(tree, quiet=quiet)
            settled[keys[-1]] = {key: OmegaConf.select(tree, key) for key in automatic}
    return [settled[key] for key in keys]


def folds_present(config: dict[str, Any]) -> list[int]:
    """The folds that the data of a configuration has, or is to be given.

    Raises:
        ConfigError: the data has no folds.
    """
    data = config["data"]
    if data["folds"] is not None:
        return list(range(1, data["folds"] + 1))
    if data["split"] not in ("folds", "auto"):
        raise ConfigError(f"sweep.folds: data.split={data['split']} has no folds; choose data.folds=5 to make some")
    manifest = _datamodule(config).read()
    folds = sorted({int(fold) for fold in manifest.table["fold"] if fold >= 0})
    if len(folds) < 3:
        raise ConfigError(f"sweep.folds: the data has {len(folds)} folds, expected 3 or more; choose data.folds=5")
    return folds


def _preflight(config: dict[str, Any], impossible: dict[str, str | None], opened: dict[str, Preflight]) -> Preflight:
    """Check a trial, less what is known from others that differ from it in nothing that counts here."""
    data = {name: value for name, value in config["data"].items() if name not in LOADING}
    key = digest([data, *(config.get(name) for name in BUILT)])
    if key not in impossible:
        impossible[key] = _why_not(config)
    if reason := impossible[key]:
        return Preflight(impossible=reason)
    whole, without_seed = digest([data, config["data"]["seed"]]), digest(data)
    if whole not in opened and without_seed not in opened:
        datamodule = _datamodule(config)
        found = _open(datamodule)
        seed_counts = found.unusable is not None or not _is_without_chance(datamodule)
        opened[whole if seed_counts else without_seed] = found
    return opened[without_seed] if without_seed in opened else opened[whole]


def _why_not(config: dict[str, Any]) -> str | None:
    from audio_lightning.classifier.factory import check_networks
    from audio_lightning.core.task import AudioTask

    try:
        data = _datamodule(config)
        check_networks(config, AudioTask(("a", "b"), data.sample_rate, data.num_samples, data.padding))
    except ConfigError as error:
        return str(error)
    except DataError:  # of recordings that cannot be measured, which _open says
        return None
    return None


def _datamodule(config: dict[str, Any]) -> "AudioDataModule":
    from audio_lightning.planning.settle import build_source

    return build_source(OmegaConf.create(config))


def _is_without_chance(datamodule: "AudioDataModule") -> bool:
    """Whether the seed has no part in what the clips are and how they are divided: by folds that come with them."""
    from audio_lightning.data.datamodule import AudioDataModule

    added = type(datamodule).complete is not AudioDataModule.complete
    return datamodule.split_method == "folds" and datamodule.plan.folds is None and not added


def _open(datamodule: "AudioDataModule") -> Preflight:
    from audio_lightning.data.store.fingerprints import fingerprints
    from audio_lightning.training.decoding_progress import decoding_shown

    try:
        with decoding_shown(datamodule):
            datamodule.setup()
            datamodule.manifest.require_several_classes()
    except DataError as error:
        return Preflight(unusable=str(error))
    return Preflight(None, None, *fingerprints(datamodule))


def gpus() -> int:
    """GPUs that this machine has."""
    import torch

    return torch.cuda.device_count()
