"""Going on with a run: its own configuration, and the few things that may be changed."""

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
PLACES = re.compile(r"data\.(table|([a-z_]+_)?(root|dir|path|file))|callbacks\.\w+\.\w*(root|dir|path|file)")
"""Where the data lies, whose content shows whether it is still the same, and where callbacks write."""

CHANGEABLE = re.compile(rf"trainer|trainer\.({'|'.join(LENGTH + DEVICES)})|logger(\..+)?|plots|{PLACES.pattern}")


def resumed_config(folder: RunFolder, overrides: Iterable[str]) -> DictConfig:
    """The configuration of the run to resume, with what was typed beside ``resume=``.

    Raises:
        ConfigError: the folder holds no run, something is to be changed that would make it another one, or the saved
            configuration leads to an address or a place that is not typed again.
        FileError: a file of the run is damaged.
    """
    config = folder.read_config(complete=True)
    folder.check_resumable()
    overrides = list(overrides)
    keys = [override.key_or_group for override in parse_overrides(overrides)]
    for key in keys:
        if not CHANGEABLE.fullmatch(key):
            raise ConfigError(
                f"{key} cannot be changed in a resumed run, which would then be another one: only the length "
                f"(trainer.{', trainer.'.join(LENGTH)}), the devices (trainer.{', trainer.'.join(DEVICES)}), "
                "plots and logger can, and data.root, where the same data lies elsewhere now"
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
        if key == "trainer":  # trainer=gpu says where to run, not how long
            for name in DEVICES:
                config.trainer[name] = typed.trainer[name]
        elif key.startswith("logger"):
            config.logger = typed.logger
        else:
            OmegaConf.update(config, key, OmegaConf.select(typed, key))
    one_cycle = str(config.scheduler.get("_target_")).endswith(".OneCycleLR")
    if one_cycle and any(key.startswith("trainer.max_") for key in keys):
        raise ConfigError(
            "scheduler=onecycle spreads one cycle over the whole training, so a run with it cannot be made longer "
            "or shorter; start another one"
        )
    OmegaConf.set_struct(config, True)
    return config
