"""Runs that are stored as W&B artifacts."""

from functools import cache
from importlib import import_module
from pathlib import Path

from audio_lightning.core.errors import ConfigError
from audio_lightning.data.store.cache import default_cache_dir

ARTIFACT = "wandb:"
"""Prefix of artifact names: ``wandb:ENTITY/PROJECT/run-ID:latest``."""

FOLDER = "artifacts"


@cache
def artifact_folder(named: str, key: str = "model.pretrained") -> Path:
    """Return the folder with the files of an artifact, downloaded once into the cache.

    Args:
        named: :data:`ARTIFACT` followed by the full name of an artifact, made by ``logger=wandb`` with ``log_files``.
        key: key of the configuration, for messages.

    Raises:
        ConfigError: there is no such artifact, or it cannot be downloaded.
    """
    name = named.removeprefix(ARTIFACT)
    if name.count("/") != 2 or not all(name.split("/")):
        raise ConfigError(f"{key}={named}: not a full name; use {ARTIFACT}ENTITY/PROJECT/NAME:VERSION")
    try:
        artifact = import_module("wandb").Api().artifact(name if ":" in name else f"{name}:latest")
        folder = default_cache_dir() / FOLDER / f"{artifact.digest}"
        return Path(artifact.download(root=str(folder)))
    except Exception as error:  # any exception of wandb and its client for HTTP
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key}={named} cannot be downloaded ({reason}); check `wandb login` and the name on the "
            "artifact's page, or download it there and give its folder"
        ) from error
