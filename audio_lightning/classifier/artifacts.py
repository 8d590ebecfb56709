"""Runs that W&B keeps as artifacts."""

from functools import cache
from importlib import import_module
from pathlib import Path

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.store.cache import default_cache_dir

ARTIFACT = "wandb:"
"""What the names of artifacts begin with: ``wandb:ENTITY/PROJECT/run-ID:latest``."""

FOLDER = "artifacts"


@cache
def artifact_folder(named: str) -> Path:
    """The files of an artifact, downloaded once, into the cache.

    Args:
        named: :data:`ARTIFACT` and the full name of the artifact, which ``logger=wandb`` with ``log_files`` has made.

    Raises:
        ConfigError: there is no such artifact, or it cannot be downloaded.
    """
    name = named.removeprefix(ARTIFACT)
    if name.count("/") != 2 or not all(name.split("/")):
        raise ConfigError(f"model.pretrained={named}: expected {ARTIFACT}ENTITY/PROJECT/NAME:VERSION")
    try:
        artifact = import_module("wandb").Api().artifact(name if ":" in name else f"{name}:latest")
        folder = default_cache_dir() / FOLDER / f"{artifact.digest}"
        return Path(artifact.download(root=str(folder)))
    except Exception as error:  # whatever that package and its client for HTTP have as errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model.pretrained={named} cannot be downloaded ({reason}): see that `wandb login` was given and that the "
            "name is that of the artifact's page; or download it there, and name its folder"
        ) from error
