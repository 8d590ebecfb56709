"""Published weights that packages of the package index carry."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from audio_lightning.core.errors import ConfigError


@dataclass(frozen=True)
class PackageFile:
    """A file of weights in a package, which is never imported for it.

    Attributes:
        package: its name in the index.
        version: the release that the checksum is of.
        member: path of the file in the package, as the package's record has it.
        sha256: of the file, in hexadecimal.
        megabytes: that the package has, about.
    """

    package: str
    version: str
    member: str
    sha256: str
    megabytes: int

    @property
    def remedy(self) -> str:
        """What puts the file on this machine; the package may ask for releases that this program can't use."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def is_here(self) -> bool:
        """Whether the package is installed, whatever is in it."""
        try:
            distribution(self.package)
        except PackageNotFoundError:
            return False
        return True

    def path(self) -> Path:
        """Where the file is.

        Raises:
            ConfigError: the package is not installed, or its file is another one.
        """
        try:
            found = Path(str(distribution(self.package).locate_file(self.member)))
        except PackageNotFoundError:
            raise ConfigError(
                f"the weights are in the package {self.package}, which is not installed: {self.remedy} "
                f"({self.megabytes} MB; sha256 of {self.member}: {self.sha256})"
            ) from None
        try:
            with found.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{found} cannot be read ({error.strerror}): {self.remedy} --force-reinstall") from error
        if checksum != self.sha256:
            raise ConfigError(
                f"{found} is not the file of {self.package} {self.version}: its sha256 is {checksum}, expected "
                f"{self.sha256}; {self.remedy} --force-reinstall"
            )
        return found
