"""Published weights that are contained in packages of the package index."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from audio_lightning.core.errors import ConfigError


@dataclass(frozen=True)
class PackageFile:
    """File of weights in a package; the package is not imported.

    Attributes:
        package: name in the index.
        version: release to which the checksum belongs.
        member: path of the file in the package, as in the package's record.
        sha256: checksum of the file, in hexadecimal.
        megabytes: approximate size of the package.
    """

    package: str
    version: str
    member: str
    sha256: str
    megabytes: int

    @property
    def remedy(self) -> str:
        """Command that installs the package, without its dependencies, which could downgrade other packages."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def is_here(self) -> bool:
        """Whether the package is installed; its content is not checked."""
        try:
            distribution(self.package)
        except PackageNotFoundError:
            return False
        return True

    def path(self) -> Path:
        """Return the path of the file, after checking its checksum.

        Raises:
            ConfigError: the package is not installed, or its file is not the published one.
        """
        try:
            found = Path(str(distribution(self.package).locate_file(self.member)))
        except PackageNotFoundError:
            raise ConfigError(
                f"the weights are in the package {self.package}, which is not installed; {self.remedy} "
                f"({self.megabytes} MB; sha256 of {self.member}: {self.sha256})"
            ) from None
        try:
            with found.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{found} cannot be read ({error.strerror}); {self.remedy} --force-reinstall") from error
        if checksum != self.sha256:
            raise ConfigError(
                f"{found} is not the file of {self.package} {self.version}: its sha256 is {checksum}, expected "
                f"{self.sha256}; {self.remedy} --force-reinstall"
            )
        return found
