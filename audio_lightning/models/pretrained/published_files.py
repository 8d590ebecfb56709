"""Published weights that are downloaded from where their authors put them."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from audio_lightning.core.errors import ConfigError, DataError
from audio_lightning.core.fetch import fetch, locked

MIRROR = "AUDIO_LIGHTNING_WEIGHTS"
"""Variable that names a folder with such files, which is looked at before anything is downloaded."""

OFFLINE = "HF_HUB_OFFLINE"
"""Variable of the Hugging Face hub by which nothing is downloaded."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights on the network, downloaded once, into torch's folder for such.

    Attributes:
        url: where it is published.
        megabytes: that it has, about.
        checksum: that was published with it, ``md5:...`` or ``sha256:...``; None where there is none.
        name: under which it is kept.
    """

    url: str
    megabytes: int
    checksum: str | None = None
    name: str = ""

    @property
    def file_name(self) -> str:
        """What the file is called on this machine."""
        return self.name or self.url.rpartition("/")[2].partition("?")[0]

    @property
    def host(self) -> str:
        """Name of the machine that it is published on."""
        return self.url.split("/")[2]

    @property
    def place(self) -> Path:
        """Where it is, or will be: in the mirror where it is there, else in torch's folder."""
        mirror = os.environ.get(MIRROR)
        mirrored = Path(mirror, self.file_name).expanduser() if mirror else None
        return mirrored if mirrored and mirrored.is_file() else Path(torch.hub.get_dir(), "checkpoints", self.file_name)

    @property
    def remedy(self) -> str:
        """What brings the file to a machine that may not download it."""
        checksum = f", {self.checksum}" if self.checksum else ""
        return f"get {self.url} ({self.megabytes} MB{checksum}) elsewhere and put it at {self.place}"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, whatever is in it."""
        return self.place.is_file()

    def path(self) -> Path:
        """Where the file is, once it has been downloaded where that is needed, and seen to be the published one.

        Raises:
            ConfigError: it is not here and cannot be downloaded, or is another file than the published one.
        """
        place = self.place
        if not place.is_file():
            if os.environ.get(OFFLINE, "0").lower() not in ("", "0", "false", "no", "off"):
                raise ConfigError(f"{self.file_name} is not on this machine, and {OFFLINE} is set: {self.remedy}")
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
                    f"{place} is not the published file: its {kind} is {found}, expected {expected}; delete it, and it "
                    "is downloaded again"
                )
        return place
