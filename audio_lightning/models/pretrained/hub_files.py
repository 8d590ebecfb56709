"""Published weights in folders in the layout of the Hugging Face hub."""

from dataclasses import dataclass
from pathlib import Path

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.hub import CONFIG, SAFETENSORS, by_hand, cached_folder, hub_folder

OPTION = "backbone"
"""Name of the option that selects such a network."""


@dataclass(frozen=True)
class HubFolder:
    """Folder with the description and the weights of a network, on this machine or on the hub.

    Attributes:
        name: path of the folder, or name on the hub; None if only a checkpoint holds the weights.
    """

    name: str | None

    @property
    def remedy(self) -> str:
        """Instruction that puts the folder on this machine."""
        if self.name is None:
            return f"name the folder that holds them, or the model of the hub: {OPTION}=NAME"
        if self.name.count("/") == 1 and not self.name.startswith((".", "~", "/")):
            return by_hand(self.name, OPTION)
        return f"put {CONFIG} and {SAFETENSORS} into {self.name}"

    @property
    def is_here(self) -> bool:
        """Whether the folder is on this machine; its content is not checked."""
        return self.name is not None and cached_folder(self.name) is not None

    def path(self) -> Path:
        """Return the path of the folder, which is downloaded if necessary.

        Raises:
            ConfigError: the folder does not exist and cannot be downloaded, or contains no weights.
        """
        if self.name is None:
            raise ConfigError(f"{OPTION}: the source of these weights is unknown; {self.remedy}")
        return hub_folder(self.name, OPTION)
