"""Keys whose value may be ``auto``: inferred from the recordings or the machine before any object is built.

Other keys have an ``auto`` of their own (``data.split``, ``trainer.accelerator``), which their class resolves.
"""

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

AUTO = "auto"

LOADING = ("data.batch_size", "data.sampling")
"""Keys of the data that a data source does not infer itself."""

PROVISIONAL: Mapping[str, Any] = {
    "data.sample_rate": 22050,
    "data.clip_seconds": 4.0,
    "data.hop_seconds": None,
    "data.padding": "zero",
    "data.batch_size": 32,
    "data.sampling": "uniform",
    "feature.hop_seconds": 0.01,
    "feature.window_seconds": 0.025,
    "feature.n_mels": 64,
    "augment.waveform.shift.max_seconds": 0.1,
    "trainer.max_epochs": 150,
    "trainer.precision": "32-true",
}
"""Values in place of ``auto`` for checks that do not depend on them."""

AUTOMATIC = tuple(PROVISIONAL)
"""All keys that may be ``auto``, in the order of inference: a later one may depend on an earlier one."""

CLIPS = AUTOMATIC[:4]
"""Keys of the windows, which a data source infers itself."""

OF_MACHINE = ("trainer.precision",)
"""Keys inferred from the machine that trains; they stay ``auto`` in the plan of a sweep, whose machines can differ."""


def automatic_keys(config: Mapping[str, Any] | DictConfig) -> list[str]:
    """Keys that are ``auto`` in a configuration, in the order of :data:`AUTOMATIC`."""
    tree = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return [key for key in AUTOMATIC if OmegaConf.select(tree, key, throw_on_missing=False) == AUTO]


def keys_of_recordings(config: Mapping[str, Any] | DictConfig) -> list[str]:
    """Keys that are ``auto`` in a configuration and inferred from the recordings."""
    return [key for key in automatic_keys(config) if key not in OF_MACHINE]


def provisional(config: DictConfig) -> DictConfig:
    """Copy a configuration with the values of :data:`PROVISIONAL` in place of ``auto``."""
    changed = copy.deepcopy(config)
    for key in automatic_keys(changed):
        OmegaConf.update(changed, key, PROVISIONAL[key])
    return changed


def buildable_data(config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Copy the ``data`` node without keys that are still ``auto``, for which the data source has defaults."""
    node: Any = OmegaConf.to_container(config["data"], resolve=True)
    return {key: value for key, value in node.items() if not (value == AUTO and f"data.{key}" in LOADING)}


def take_settled(config: DictConfig, saved: DictConfig) -> None:
    """Replace every ``auto``, in place, by the value that another run inferred and saved."""
    for key in automatic_keys(config):
        OmegaConf.update(config, key, OmegaConf.select(saved, key))
