"""Keys whose value may be ``auto``: what follows from recordings or machine, settled before anything is built of them.

Other keys have an ``auto`` of their own (``data.split``, ``trainer.accelerator``), which whoever takes them settles.
"""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

AUTO = "auto"

CLIPS = tuple(f"data.{name}" for name in ("sample_rate", "clip_seconds", "hop_seconds", "padding"))
"""Keys that say how clips are cut, which a data source settles itself."""

LOADING = ("data.batch_size", "data.sampling")
"""Keys of the data that a data source does not settle itself."""

AUTOMATIC = (
    *CLIPS,
    *LOADING,
    "feature.hop_seconds",
    "feature.window_seconds",
    "feature.n_mels",
    "augment.waveform.shift.max_seconds",
    "trainer.max_epochs",
    "trainer.precision",
)
"""All of them, in the order in which they are settled: a later one may depend on an earlier one."""


OF_MACHINE = ("trainer.precision",)
"""Those that follow from the machine of a training, so that a plan for several machines does not settle them."""


def automatic_keys(config: Mapping[str, Any] | DictConfig) -> list[str]:
    """Those that are ``auto`` in a configuration, in the order of :data:`AUTOMATIC`."""
    tree = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return [key for key in AUTOMATIC if OmegaConf.select(tree, key, throw_on_missing=False) == AUTO]


def keys_of_recordings(config: Mapping[str, Any] | DictConfig) -> list[str]:
    """Those of :func:`automatic_keys` that follow from the recordings."""
    return [key for key in automatic_keys(config) if key not in OF_MACHINE]


def buildable_data(config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """The node of a data source without what it cannot be built with yet; its class has usual values for that."""
    node: Any = OmegaConf.to_container(config["data"], resolve=True)
    return {key: value for key, value in node.items() if not (value == AUTO and f"data.{key}" in LOADING)}


def take_settled(config: DictConfig, saved: DictConfig) -> None:
    """Write into a configuration what its values of ``auto`` were for the run that saved another."""
    for key in automatic_keys(config):
        OmegaConf.update(config, key, OmegaConf.select(saved, key))
