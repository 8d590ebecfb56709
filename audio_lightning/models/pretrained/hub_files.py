"""Published weights in folders of the Hugging Face hub."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.hub import CONFIG, SAFETENSORS, by_hand, hub_folder

OPTION = "backbone"
"""The option that names such a network."""


@dataclass(frozen=True)
class HubFolder:
    """A folder with the description of a network and its weights, on this machine or on the hub.

    Attributes:
        name: path of the folder, or name on the hub; None where only a checkpoint holds the weights.
    """

    name: str | None

    @property
    def remedy(self) -> str:
        """What puts it on this machine."""
        if self.name is None:
            return f"name the folder that holds them, or the model of the hub: {OPTION}=NAME"
        if self.name.count("/") == 1 and not self.name.startswith((".", "~", "/")):
            return by_hand(self.name, OPTION)
        return f"put {CONFIG} and {SAFETENSORS} into {self.name}"

    @property
    def is_here(self) -> bool:
        """Whether the folder is on this machine, whatever is in it."""
        if self.name is None:
            return False
        return Path(self.name).expanduser().is_dir() or _is_cached(self.name)

    def path(self) -> Path:
        """Where the folder is, once it has been downloaded where that is needed.

        Raises:
            ConfigError: it is not here and cannot be downloaded, or holds no weights.
        """
        if self.name is None:
            raise ConfigError(f"nothing says where these weights are: {self.remedy}")
        return hub_folder(self.name, OPTION)


def _is_cached(name: str) -> bool:
    try:
        hub = import_module("huggingface_hub")
        return isinstance(hub.try_to_load_from_cache(name, CONFIG), str)
    except (ModuleNotFoundError, ValueError):  # that package's error for what is no name is a ValueError
        return False
