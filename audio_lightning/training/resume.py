"""Configuration of a resumed run: the saved configuration, and the few keys that may be changed."""

import re
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from audio_lightning.config import change, compose
from audio_lightning.config.overrides import parse_overrides
from audio_lightning.config.saved import REACHING, check_reach
from audio_lightning.core.errors import ConfigError
from audio_lightning.run_folder import RunFolder

LENGTH = ("max_epochs", "max_steps", "max_time")
DEVICES = ("accelerator", "devices", "num_nodes", "strategy")
PLACES = re.compile(
    r"data\.(table|([a-z_]+_)?(root|dir|path|file))|callbacks\.\w+\.\w*(root|dir|path|file)|distill\.teacher"
)
"""Keys of locations: of data and teacher, which are recognized by their content, and of files of callbacks."""

CHANGEABLE = re.compile(rf"trainer|trainer\.({'|'.join(LENGTH + DEVICES)})|logger(\..+)?|plots|{PLACES.pattern}")


def resumed_config(folder: RunFolder, overrides: Iterable[str]) -> DictConfig:
    """Return the configuration of the run to resume, with the overrides given with ``resume=``.

    Raises:
        ConfigError: the folder contains no run, an override would make it a different run, or the saved configuration
            names an address or a path outside the run folder that is not given again.
        FileError: a file of the run is damaged.
    """
    config = folder.read_config(complete=True)
    folder.check_resumable()
    overrides = list(overrides)
    keys = [override.key_or_group for override in parse_overrides(overrides)]
    for key in keys:
        if not CHANGEABLE.fullmatch(key):
            raise ConfigError(
                f"{key} cannot be changed in a resumed run; only the length "
                f"(trainer.{', trainer.'.join(LENGTH)}), the devices (trainer.{', trainer.'.join(DEVICES)}), "
                "plots, logger, and data.root or distill.teacher of moved files can be changed"
            )
    anew = any(key.startswith("logger") for key in keys)
    moved = [line for line, key in zip(overrides, keys) if PLACES.fullmatch(key)]
    config = change(config, moved)
    check_reach(config, [name for name in REACHING if not (anew and name == "logger")], folder.path, typed=keys)
    if not keys:
        return config
    keys = [key for key in keys if not PLACES.fullmatch(key)]
    typed = compose([line for line in overrides if line not in moved])
    OmegaConf.set_struct(config, False)
    for key in keys:
        if key == "trainer":  # trainer=gpu chooses devices, not the length
            for name in DEVICES:
                config.trainer[name] = typed.trainer[name]
        elif key.startswith("logger"):
            config.logger = typed.logger
        else:
            OmegaConf.update(config, key, OmegaConf.select(typed, key))
    one_cycle = str(config.scheduler.get("_target_")).endswith(".OneCycleLR")
    if one_cycle and any(key.startswith("trainer.max_") for key in keys):
        raise ConfigError(
            "scheduler=onecycle: its cycle spans the whole training, so that the length of a resumed run cannot be "
            "changed; start a new run"
        )
    OmegaConf.set_struct(config, True)
    return config
