"""Storage of the study of a search; Optuna is imported on first use."""

import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def storage_url(storage: str | None, file: Path) -> str:
    """Return the URL of the storage of a study; by default SQLite in ``file``, in the sweep folder.

    A URL is one of Optuna's (``mysql://user:password@host/name``), or ``journal:///FILE`` for a file on a network
    drive, on which SQLite's locks do not work.
    """
    return storage or f"sqlite:///{file.absolute()}"


def import_optuna() -> Any:
    """Import Optuna, and silence its messages.

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        optuna: Any = import_module("optuna")
        import_module("cmaes")
    except ModuleNotFoundError as error:
        message = f"sweep=search: {error.name} is not installed; pip install 'audio-lightning[search]'"
        raise ConfigError(message) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_storage(url: str) -> "BaseStorage":
    """Open the storage of a study.

    Args:
        url: see :func:`storage_url`.

    Raises:
        ConfigError: the storage cannot be reached.
    """
    import_optuna()
    from optuna.storages import JournalStorage, RDBStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    if url.startswith("journal://"):
        return patiently(lambda: JournalStorage(JournalFileBackend(url.removeprefix("journal://"))), url)
    # A transaction takes milliseconds, but dozens of processes may wait for the lock.
    options = {"connect_args": {"timeout": 120}} if url.startswith("sqlite:") else {}
    return get_storage(patiently(lambda: RDBStorage(url, engine_kwargs=options), url))


def patiently(action: Callable[[], Any], url: str) -> Any:
    """Call a function, and retry a few times: creating the tables fails if two machines do so at once."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(6):
        try:
            return action()
        except (SQLAlchemyError, StorageInternalError, ImportError, OSError) as error:
            if attempt == 5 or isinstance(error, (ImportError, OSError)):
                reason = str(error).strip().splitlines()[0]
                raise ConfigError(f"sweep.search.storage={_without_password(url)}: {reason}") from error
            time.sleep(0.1 * 2**attempt)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url
