"""Checks of a configuration before heavy imports and before any audio is read."""

import functools
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audio_lightning.config.automatic import buildable_data
from audio_lightning.config.hints import RECORDINGS, has_annotation_files, one_of, source_of
from audio_lightning.config.keys import keys_of_choices
from audio_lightning.config.licences import licence_of
from audio_lightning.config.override_checks import OPEN_NODES
from audio_lightning.config.overrides import PATH_KEY, holds_path
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.targets import build, is_allowed, refusal
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.core.progress import progress_shown
from audio_lightning.core.task import configured_metric, metric_names, monitorable_metrics

RANGES = {
    "seed": (0, 2**32 - 1),
    "feature_memory_gb": (0, math.inf),
    "target_steps": (1, math.inf),
    "tuner.max_batch_size": (1, math.inf),
    "data.num_workers": (0, math.inf),
    "trainer.accumulate_grad_batches": (1, math.inf),
    "distill.weight": (0, 1),
}
"""Minimum and maximum of keys that nothing else checks early enough."""

CALIBRATIONS = ("auto", "temperature", "vector", "none")
"""Values of ``calibration``."""

SHARES = ("data.test_fraction", "data.validation_fraction")
"""Keys whose values are fractions; invalid ones are refused even if a split by folds does not use them."""


def check_config(config: DictConfig) -> None:
    """Check the values of a configuration, in the order in which a user would correct them.

    ``monitor=null`` and ``data.multilabel=auto`` are replaced first, in place (:func:`settle`).

    Raises:
        ConfigError: a mandatory key without a value, an interpolation that cannot be resolved, a folder that does not
            exist, a target that is not allowed, a number out of range, a monitor that is not logged for this data, or
            keys that contradict each other.
    """
    settle(config)
    for key, value in _leaves(config):
        name = key.rpartition(".")[2]
        if value == "???":
            raise ConfigError(f"{key} must be given: {key}=...")
        if _must_exist(key) and value is not None:
            if not (key.startswith("data.") and config.data.get("download")):  # the download creates it
                _check_exists(key, as_path(key, value))
        elif name == "_target_" and value is not None and not is_allowed(value, where=key):
            raise ConfigError(f"{key}={refusal(value, where=key)}")
        elif name == "monitor":
            _check_monitor(key, str(value), config)
    for key, (least, most) in RANGES.items():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if not isinstance(node, DictConfig) or name not in node:
            continue  # a choice of the user may lack the key
        value = node[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            limits = f"at least {least}" if most == math.inf else f"{least} to {most}"
            shown = "null" if value is None else f"{value!r}" if isinstance(value, str) else value
            raise ConfigError(f"{key}={shown}: expected a number, {limits}")
    if (method := config.get("calibration", "none")) not in CALIBRATIONS:
        raise ConfigError(f"calibration={method}: expected one of {', '.join(CALIBRATIONS)}")
    licence_of(config)
    for key in SHARES:
        share = OmegaConf.select(config, key)
        number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if share is not None and not (number and 0 <= share < 1):
            raise ConfigError(f"{key}={share!r}: expected a fraction of at least 0 and less than 1")
    _check_demo(config)
    _check_class_folders(config)
    _check_backbone(config)
    _check_length(config)
    _check_targets(config)
    if setting := _unvalidated(config):
        check_unvalidated(config, setting)


def _check_backbone(config: DictConfig) -> None:
    """Refuse different published networks in ``feature`` and ``model``: only one could be used."""
    of_feature, of_model = (OmegaConf.select(config, f"{node}.backbone") for node in ("feature", "model"))
    if of_feature is not None and of_model is not None and of_feature != of_model:
        raise ConfigError(
            f"feature.backbone={of_feature} and model.backbone={of_model}: a classifier uses one published network; "
            "give one of the two"
        )


def _check_monitor(key: str, value: str, config: DictConfig) -> None:
    """Refuse a metric that is not logged; metrics of single classes are checked once the classes are known."""
    logged = [
        *monitorable_metrics(multilabel=is_multilabel(config)),
        *(f"validation/{name}" for name in config.metrics),
    ]
    further = value.startswith("validation/") and configured_metric(value, config.metrics)
    if value not in logged and not further:
        raise ConfigError(
            f"{key}={value}: this metric is not logged" + did_you_mean(value, logged, listing="logged metrics")
        )


def check_unvalidated(config: DictConfig, setting: str) -> None:
    """Refuse a validation metric as a monitor if there are no validation clips.

    The checkpoint callback is exempt: it then keeps the last epoch.

    Args:
        config: composed configuration.
        setting: the setting that leaves no validation clips, for the message.

    Raises:
        ConfigError: a monitor that is never measured.
    """
    for key, value in _leaves(config):
        node, _, name = key.rpartition(".")
        if name != "monitor" or not str(value).startswith("validation/"):
            continue
        target = OmegaConf.select(config, f"{node}._target_") if node else None
        if target is not None and not str(target).endswith(".BestCheckpoint"):
            raise ConfigError(
                f"{key}={value}: {setting} leaves no clips to measure it on; name a training metric "
                f"({key}=train/loss), or keep some for validation"
            )


def _check_demo(config: DictConfig) -> None:
    """Refuse the user's own recordings with ``data=demo``, the default, which generates its recordings."""
    root = config.data.get("root")
    if not str(config.data.get("_target_")).endswith(".Demo") or root is None:
        return
    path = as_path("data.root", root)
    if _listed(path) and not os.path.exists(path / "metadata/UrbanSound8K.csv"):
        raise ConfigError(
            f"data.root={root}: data=demo, the default, reads only generated recordings; for your own, "
            f"type {source_of(path)}"
        )


def _check_class_folders(config: DictConfig) -> None:
    """Refuse a folder of recordings instead of a folder of class folders, before heavy imports."""
    target, root = str(config.data.get("_target_")), config.data.get("root")
    if not target.endswith((".Folder", ".Instruments")) or root is None:
        return
    if config.data.get("table") is not None or config.data.get("label_pattern") is not None:
        return
    path = as_path("data.root", root)
    names = _listed(path)
    if names and not any(os.path.isdir(path / name) for name in names):
        above = path.absolute().parent
        classes = [name for name in _listed(above) if _holds_recordings(above / name)]
        meant = f"type data.root={shlex.quote(str(path.parent if path.name else above))}"
        tables = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
        if has_annotation_files(names) or any(name.endswith(tables) for name in names):
            meant = f"type {source_of(path)}"
        elif not _holds_recordings(path):
            raise ConfigError(
                f"data.root={root}: has neither class folders nor recordings, only files such as {names[0]}; expected "
                f"{path}/<class>/<recording>"
            )
        elif len(classes) < 2:
            meant = f"expected {path}/<class>/<recording>"
        raise ConfigError(f"data.root={root}: has no class folders, only files such as {names[0]}; {meant}")


def _holds_recordings(folder: Path) -> bool:
    """Whether a folder directly holds recordings, by the names of its files."""
    return any(name.lower().endswith(RECORDINGS) for name in _listed(folder))


def _listed(folder: Path) -> list[str]:
    """Sorted names in a folder, without hidden ones; none for an unreadable folder, reported by the data source."""
    with suppress(OSError):
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return []


def _check_length(config: DictConfig) -> None:
    """Refuse a training without epochs, and one of unlimited length with a scheduler, which needs the length."""
    select = functools.partial(OmegaConf.select, config)
    epochs = select("trainer.max_epochs", default=None)
    if not isinstance(epochs, int) or epochs >= 1:
        return
    message = f"trainer.max_epochs={epochs}: must be at least 1"
    if epochs != -1:
        raise ConfigError(message)
    if select("trainer.max_steps", default=-1) == -1 and select("scheduler._target_") is not None:
        raise ConfigError(f"{message}; -1 (no limit) is possible with scheduler=none only, which needs no length")


def _check_targets(config: DictConfig) -> None:
    """Refuse incomplete entries: ``+callbacks.early_stopping.patience=3`` without ``callbacks=early_stopping``."""
    for group in OPEN_NODES:
        for name, node in config.get(group, {}).items():
            key = f"{group}.{name}"
            if not isinstance(node, DictConfig) or not node or "_target_" in node:
                continue
            holds_targets = any(isinstance(child, DictConfig) for child in node.values())  # like augment.waveform
            if not holds_targets and key in keys_of_choices():
                raise ConfigError(f"{key} has no _target_; it needs {group}={one_of(keys_of_choices()[key])}")


def settle(config: DictConfig) -> None:
    """Set ``monitor``, if it is null, to the default metric of the data, after ``data.multilabel=auto`` is resolved."""
    _settle_multilabel(config)
    with suppress(OmegaConfBaseException):  # check_config reports unresolved interpolations
        if config.monitor is None:
            config.monitor = f"validation/{metric_names(multilabel=is_multilabel(config))[0]}"


def _settle_multilabel(config: DictConfig) -> None:
    """Infer ``data.multilabel`` from the data; unreadable data is reported later."""
    with suppress(OmegaConfBaseException, UserError):
        if labels_depend_on_data(config):
            source: Any = build(buildable_data(config), object, where="data")
            with progress_shown("measuring recordings") as source.progress:  # window lengths may be auto
                config.data.multilabel = source.infers_multilabel()


def labels_depend_on_data(config: DictConfig) -> bool:
    """Whether the data must be read to know if it is multi-label; for a table, only if it has label columns."""
    data = config.data
    return data.get("multilabel") == "auto" and not ("label_columns" in data and data.label_columns is None)


def absolutize_paths(config: DictConfig) -> None:
    """Make paths absolute, so that the run can be resumed and tested from any folder."""
    for key, value in list(_leaves(config)):
        if value is None or not holds_path(key, value):
            continue
        path = as_path(key, value)
        if key.startswith("data.") or key in ("noise_dir", "rir_dir") or os.path.exists(path):
            OmegaConf.update(config, key, str(path.absolute()))
    table = config.data.get("table")  # relative to data.root or to the current folder
    named: Any = table.items() if isinstance(table, DictConfig) else [("", table)]
    parts = {f"data.table.{split}".rstrip("."): file for split, file in named}
    for key, file in parts.items():
        # Path.exists() raises for an impossible file name.
        beside = file is None or os.path.exists(Path(str(config.data.root)) / str(file))
        if not beside and os.path.exists(str(file)):
            OmegaConf.update(config, key, str(Path(str(file)).absolute()))


def is_multilabel(config: Mapping[str, Any] | DictConfig) -> bool:
    """Whether the data is multi-label, according to the configuration."""
    with suppress(OmegaConfBaseException):
        data = config["data"]
        if isinstance(several := data.get("multilabel"), bool):
            return several
        return data.get("label_separator") is not None or data.get("labels") == "rows"
    return False


def _unvalidated(config: DictConfig) -> str | None:
    """Setting that leaves no validation clips, if that is known without the data; otherwise None."""
    if config.data.get("train_on_validation"):
        return "data.train_on_validation=true"
    split, folds = config.data.get("split"), config.data.get("folds")
    drawn = split == "train_only" or (split in ("grouped", "speaker", "stratified", "random") and folds is None)
    return "data.validation_fraction=0.0" if drawn and not config.data.get("validation_fraction") else None


def _must_exist(key: str) -> bool:
    return key in ("noise_dir", "rir_dir") or (
        key.startswith("data.") and key != "data.cache_dir" and bool(PATH_KEY.search(key))
    )


def as_path(key: str, value: Any) -> Path:
    """Path in the value of a key, with ``~`` expanded.

    Raises:
        ConfigError: ``~NAME`` with an unknown user.
    """
    try:
        return Path(str(value)).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}={value}: {error}") from error


def _check_exists(key: str, path: Path) -> None:
    if os.path.exists(path):  # Path.exists() raises for an impossible file name
        return
    nearest = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    siblings: list[str] = []
    with suppress(OSError):
        siblings = [entry.name for entry in nearest.iterdir()] if os.path.isdir(nearest) else []
    missing = path.absolute().relative_to(nearest).parts[0]
    raise ConfigError(
        f"{key}={path}: no such folder; {nearest} exists but contains no {missing}" + did_you_mean(missing, siblings)
    )


def _leaves(node: DictConfig | ListConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    names: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for name in names:
        key = f"{prefix}{name}"
        if key == "hydra":  # Hydra sets its own values when the job starts
            continue
        if OmegaConf.is_missing(node, name):
            yield key, "???"
            continue
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
        if isinstance(value, (DictConfig, ListConfig)):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
