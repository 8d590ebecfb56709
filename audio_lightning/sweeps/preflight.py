"""Pre-flight checks of trials: whether each can work, and a fingerprint of its recordings."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from audio_lightning.config.automatic import AUTOMATIC, PROVISIONAL, keys_of_recordings
from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.sweeps.identity import digest

if TYPE_CHECKING:
    from audio_lightning.core.task import AudioTask
    from audio_lightning.data.datamodule import AudioDataModule

LOADING = ("seed", "batch_size", "num_workers", "resident", "sampling")
"""Data keys of batching, which do not affect the pre-flight check."""

BUILT = ("feature", "augment", "model", "finetune", "distill", "loss", "optimizer", "scheduler")
"""Nodes of a configuration that are built or read in the pre-flight check."""


@dataclass(frozen=True)
class Preflight:
    """Result of the pre-flight check of a trial.

    Attributes:
        impossible: why the trial cannot work; None if it can.
        unusable: why its recordings cannot be used; None if they can.
        content, division: fingerprints of the recordings and of the splits
            (:mod:`audio_lightning.data.store.fingerprints`).
    """

    impossible: str | None = None
    unusable: str | None = None
    content: str | None = None
    division: str | None = None


def preflight(configs: Sequence[dict[str, Any]]) -> list[Preflight]:
    """Check trials, given by their resolved configurations; recordings are decoded if they are not cached.

    Call it in a separate process, because it imports the libraries of a training.
    """
    impossible: dict[str, str | None] = {}
    opened: dict[str, Preflight] = {}
    return [_preflight(config, impossible, opened) for config in configs]


def settle_automatic(
    configs: Sequence[dict[str, Any]], provisional: Sequence[dict[str, Any]], quiet: bool = False
) -> list[dict[str, Any]]:
    """Return the values of keys that are ``auto`` and are derived from the recordings, for each configuration.

    Unusable data leaves them at ``auto``. A trial that cannot work with any recordings gets provisional values, and
    nothing is measured for it. The pre-flight check reports both. Call it in a separate process, because it imports the
    libraries of a training.

    Args:
        configs: resolved configurations.
        provisional: the same with :func:`audio_lightning.config.automatic.provisional`.
        quiet: print no values.
    """
    from audio_lightning.classifier.factory import check_choices
    from audio_lightning.training.setup import settled_data

    measured: dict[str, dict[str, Any]] = {}
    settled = []
    for config, tried in zip(configs, provisional):
        tree, automatic = OmegaConf.create(config), keys_of_recordings(config)
        try:
            with suppress(DataError):
                check_choices(tried, _task_of(tried))
        except ConfigError:
            settled.append({key: PROVISIONAL[key] for key in automatic})
            continue
        given = [OmegaConf.select(tree, key) for key in AUTOMATIC]
        name = digest([config["data"], given])
        if name not in measured:
            with suppress(DataError):
                settled_data(tree, quiet=quiet)
            measured[name] = {key: OmegaConf.select(tree, key) for key in automatic}
        settled.append(measured[name])
    return settled


def folds_present(config: dict[str, Any]) -> list[int]:
    """Return the folds of the data of a configuration: ``data.folds``, otherwise those of the data set.

    Raises:
        ConfigError: the data has no folds, or fewer than three.
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
    """Check a trial; reuse the results of trials with the same relevant keys."""
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

    try:
        check_networks(config, _task_of(config))
    except ConfigError as error:
        return str(error)
    except DataError:  # unreadable recordings, which _open reports
        return None
    return None


def _task_of(config: dict[str, Any]) -> "AudioTask":
    from audio_lightning.core.task import AudioTask

    data = _datamodule(config)
    return AudioTask(("a", "b"), data.sample_rate, data.num_samples, data.padding)


def _datamodule(config: dict[str, Any]) -> "AudioDataModule":
    from audio_lightning.planning.settle import build_source

    return build_source(OmegaConf.create(config))


def _is_without_chance(datamodule: "AudioDataModule") -> bool:
    """Return whether clips and splits are independent of the seed, as with the folds of a data set."""
    from audio_lightning.data.datamodule import AudioDataModule

    added = type(datamodule).complete is not AudioDataModule.complete
    return datamodule.split_method == "folds" and datamodule.plan.folds is None and not added


def _open(datamodule: "AudioDataModule") -> Preflight:
    from audio_lightning.data.store.fingerprints import fingerprints
    from audio_lightning.training.decoding_progress import decoding_shown

    try:
        with decoding_shown(datamodule):
            datamodule.setup()
            datamodule.manifest.require_usable_classes()
    except DataError as error:
        return Preflight(unusable=str(error))
    return Preflight(None, None, *fingerprints(datamodule))


def gpus() -> int:
    """Return the number of GPUs of this machine."""
    import torch

    return torch.cuda.device_count()
