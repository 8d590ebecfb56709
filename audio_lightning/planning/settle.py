"""Replacement of ``auto`` in a configuration by values chosen for the data set."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import build
from audio_lightning.config.automatic import AUTO, AUTOMATIC, LOADING, automatic_keys, buildable_data
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.planning.rules import ACCELERATOR, RULES, STEPS, Choice, Facts, demanded_rate

Shown = Callable[[AudioDataModule, str], AbstractContextManager[None]]
"""Function of a data module and the name of a task that returns a context, in which progress is shown."""


def build_data(
    config: DictConfig, shown: Shown = lambda datamodule, what: nullcontext()
) -> tuple[AudioDataModule, dict[str, Choice]]:
    """Build the data source of a configuration, and replace every ``auto`` in the configuration, in place.

    Args:
        config: composed and checked configuration.
        shown: returns the context of the measurements, which are cached on the machine.

    Returns:
        The data module, not yet set up, and a mapping from each key that was ``auto`` to its value and the reason.

    Raises:
        ConfigError: see :func:`audio_lightning.config.build`.
        DataError: the folder is not a data set of this kind, or cannot be split as configured.
    """
    choices = dict[str, Choice]()
    if config.data.sample_rate == AUTO and (demanded := demanded_rate(config)) is not None:
        choices["data.sample_rate"] = demanded
        config.data.sample_rate = demanded[0]
    keys = automatic_keys(config)
    datamodule = build_source(config)
    if not keys:
        return datamodule, choices
    facts = Facts(datamodule)
    with shown(datamodule, "measuring recordings"):
        for key in keys:
            given = {
                name: OmegaConf.select(config, name, throw_on_missing=False)
                for name in (*AUTOMATIC, ACCELERATOR, STEPS)
            }
            choices[key] = RULES[key](facts, given)
            OmegaConf.update(config, key, choices[key][0])
    loading = {name.removeprefix("data."): choices[name][0] for name in keys if name in LOADING}
    datamodule.loading = replace(datamodule.loading, **loading)
    datamodule.batch_size = datamodule.loading.batch_size
    return datamodule, choices


def build_source(config: DictConfig) -> AudioDataModule:
    """Build the data source of a configuration without measuring recordings.

    Loading settings that are ``auto``, such as the batch size, have their defaults.

    Raises:
        ConfigError: see :func:`audio_lightning.config.build`.
    """
    return build(buildable_data(config), AudioDataModule, where="data")
