"""Published weights that are downloaded from their authors' servers."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.fetch import fetch, locked

MIRROR = "AUDIO_LIGHTNING_WEIGHTS"
"""Environment variable with a folder of published files, which is searched before a download."""

OFFLINE = "HF_HUB_OFFLINE"
"""Environment variable of the Hugging Face hub that forbids downloads."""


@dataclass(frozen=True)
class PublishedFile:
    """File of weights on a server, downloaded once into torch's cache folder.

    Attributes:
        url: address of the file.
        megabytes: approximate size.
        checksum: published checksum, ``md5:...`` or ``sha256:...``; None if there is none.
        name: local file name; by default the last part of the address.
    """

    url: str
    megabytes: int
    checksum: str | None = None
    name: str = ""

    @property
    def file_name(self) -> str:
        """Local file name."""
        return self.name or self.url.rpartition("/")[2].partition("?")[0]

    @property
    def host(self) -> str:
        """Name of the server."""
        return self.url.split("/")[2]

    @property
    def place(self) -> Path:
        """Local path of the file: in the mirror folder if it is there, otherwise in torch's cache folder."""
        mirror = os.environ.get(MIRROR)
        mirrored = Path(mirror, self.file_name).expanduser() if mirror else None
        return mirrored if mirrored and mirrored.is_file() else Path(torch.hub.get_dir(), "checkpoints", self.file_name)

    @property
    def remedy(self) -> str:
        """Instruction for a manual download, for machines without access to the server."""
        checksum = f", {self.checksum}" if self.checksum else ""
        return f"get {self.url} ({self.megabytes} MB{checksum}) elsewhere and put it at {self.place}"

    @property
    def is_here(self) -> bool:
        """Whether the file is on this machine; its content is not checked."""
        return self.place.is_file()

    def path(self) -> Path:
        """Return the path of the file, which is downloaded if necessary, after checking its checksum.

        Raises:
            ConfigError: the file does not exist and cannot be downloaded, or is not the published one.
        """
        place = self.place
        if not place.is_file():
            if os.environ.get(OFFLINE, "0").lower() not in ("", "0", "false", "no", "off"):
                raise ConfigError(f"{self.file_name} is not on this machine, and {OFFLINE} is set; {self.remedy}")
            try:
                with locked(place.parent):
                    fetch([self.url], place, checksum=self.checksum)
            except DataError as error:
                raise ConfigError(f"{error}; or {self.remedy}") from error
        elif self.checksum:
            import pooch

            kind, _, expected = self.checksum.partition(":")
            if (found := pooch.file_hash(str(place), alg=kind)) != expected:
                raise ConfigError(
                    f"{place} is not the published file: its {kind} is {found}, expected {expected}; delete it to "
                    "download it again"
                )
        return place
