"""Download and upload of models on the Hugging Face hub: ``hf://OWNER/NAME``."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from audio_lightning.config.licences import KEYS, Licence
from audio_lightning.core.errors import ConfigError
from audio_lightning.run_folder import MODEL, RunFolder

SCHEME = re.compile(r"hf:/+")
"""Scheme of names on the hub; ``Path`` collapses its two slashes to one."""

NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>[\w./-]+))?")
"""``OWNER/NAME``, optionally with a branch, tag or commit as ``@REVISION``."""

README = "README.md"

STATUS = re.compile(r"\d{3} Client Error")
"""Status line of an HTTP error; the next line has the reason."""

SECONDS_TO_ANSWER = 10.0
"""Timeout of the request for a model's metadata, in seconds."""

UNREACHABLE = {"ConnectionError", "ConnectTimeout", "OfflineModeIsEnabled", "Timeout", "TransportError"}
"""Errors without an answer of the hub: classes of huggingface_hub and of the HTTP clients of its versions."""

LEFT_OUT: Mapping[str, Any] = {"logger": {}, "trusted_modules": None}
"""Private keys of a configuration (accounts, addresses, modules), and the values that replace them."""

ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[/\\]")
"""Beginning of an absolute path."""


@dataclass(frozen=True)
class Upload:
    """Contents of an upload.

    Attributes:
        name: ``OWNER/NAME``.
        url: page of the model.
        files: size of each file in bytes, by name.
    """

    name: str
    url: str
    files: dict[str, int]


def is_hub_name(path: Path | str) -> bool:
    """Return whether a checkpoint is given by a name on the hub, ``hf://...``."""
    return SCHEME.match(str(path)) is not None


def pull(path: Path | str) -> Path:
    """Download a checkpoint from the hub, unless it is in the cache. Its contents are untrusted.

    Args:
        path: ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``.

    Returns:
        The file in the cache of huggingface_hub.

    Raises:
        ConfigError: an invalid name, no such model, no network, or huggingface_hub is not installed.
    """
    typed = SCHEME.sub("hf://", str(path))
    found = NAME.fullmatch(typed.removeprefix("hf://"))
    if found is None:
        raise ConfigError(f"{typed}: expected hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    with _refused(typed, f"expected a model with {MODEL}, as `audio-lightning push` uploads it"):
        return _downloaded(found["name"], found["revision"])


def _downloaded(name: str, revision: str | None) -> Path:
    """Download a checkpoint into the cache; without a network, use the cached file.

    The metadata of the model is requested first, with a short timeout: for a file, huggingface_hub would try to connect
    for half a minute.
    """
    hub = import_module("huggingface_hub")
    unreachable: Exception | None = None
    try:
        hub.HfApi(endpoint=_endpoint()).model_info(name, revision=revision, timeout=SECONDS_TO_ANSWER)
    except hub.errors.HfHubHTTPError:  # the hub was reached
        raise
    except Exception as error:
        unreachable = error
    try:
        options = {"revision": revision, "endpoint": _endpoint(), "local_files_only": unreachable is not None}
        return Path(hub.hf_hub_download(name, MODEL, **options))
    except hub.errors.LocalEntryNotFoundError as error:
        raise unreachable or error from None


def push(
    checkpoint: Path,
    card: str,
    name: str,
    *,
    folder: Path | None = None,
    licence: Licence | None = None,
    private: bool = False,
    dry_run: bool = False,
) -> Upload:
    """Upload a checkpoint with its model card, configuration and metrics; create the repository if it does not exist.

    Absolute paths in the configuration are reduced to their last component, and loggers are left out.

    Args:
        checkpoint: checkpoint file of a run or a fit.
        card: text of ``README.md``.
        name: ``OWNER/NAME``.
        folder: run folder whose ``config.yaml`` and ``metrics.json`` are uploaded, if they exist.
        licence: licence of the model that replaces the one in the uploaded configurations; None to keep it. The card
            must state it already.
        private: make a new repository private.
        dry_run: upload nothing.

    Raises:
        ConfigError: an invalid name, no write access, no network, or huggingface_hub is not installed.
        CheckpointError: a damaged checkpoint.
    """
    typed = SCHEME.sub("", name)
    found = NAME.fullmatch(typed)
    if found is None or found["revision"]:
        raise ConfigError(f"{name}: expected OWNER/NAME, such as jane/dog-barks")
    with tempfile.TemporaryDirectory() as place:
        files = _prepare(Path(place), checkpoint, card, folder, licence)
        sizes = {file.name: file.stat().st_size for file in files}
        url = f"{_endpoint() or 'https://huggingface.co'}/{typed}"
        if not dry_run:
            with _refused(typed, "log in by `hf auth login`, or set HF_TOKEN to a token that may write"):
                hub = import_module("huggingface_hub")
                api = hub.HfApi(endpoint=_endpoint())
                api.create_repo(typed, private=private or None, exist_ok=True)
                operations = [hub.CommitOperationAdd(file.name, str(file)) for file in files]
                api.create_commit(typed, operations, commit_message="Upload a model of audio-lightning")
    return Upload(typed, url, sizes)


def _prepare(place: Path, checkpoint: Path, card: str, folder: Path | None, licence: Licence | None) -> list[Path]:
    """Write the files to upload into a temporary folder."""
    from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
    from audio_lightning.config.saved import read_saved

    write_checkpoint(place / MODEL, without_places(read_contents(checkpoint), licence))
    (place / README).write_text(card, encoding="utf-8")
    run = RunFolder(folder) if folder is not None else None
    if run is not None and run.config.is_file():
        text = yaml.safe_dump(_shared(read_saved(run.config), licence), sort_keys=False, allow_unicode=True)
        (place / run.config.name).write_text(text, encoding="utf-8")
    if run is not None and run.metrics.is_file():
        (place / run.metrics.name).write_bytes(run.metrics.read_bytes())
    return sorted(place.iterdir())


def without_places(contents: dict[str, Any], licence: Licence | None = None) -> dict[str, Any]:
    """Reduce a checkpoint (or an ensemble of them) to the contents that prediction needs, without absolute paths.

    Args:
        contents: contents of the file.
        licence: licence of the model that replaces the one in the configurations; None to keep it.
    """
    from audio_lightning.classifier.checkpoint import is_ensemble
    from audio_lightning.classifier.ensemble_file import KEPT

    if is_ensemble(contents):
        written = {**contents["audio_lightning"], "notes": _placeless(contents["audio_lightning"].get("notes", {}))}
        return {
            **contents,
            "audio_lightning": written,
            "members": [without_places(one, licence) for one in contents["members"]],
        }
    kept = {name: contents[name] for name in KEPT}
    parameters = kept["hyper_parameters"]
    return {**kept, "hyper_parameters": {**parameters, "config": _shared(parameters["config"], licence)}}


def _shared(config: Mapping[str, Any], licence: Licence | None) -> dict[str, Any]:
    """Remove absolute paths and private keys from a configuration, and put a licence into it."""
    own = {name: empty for name, empty in LEFT_OUT.items() if name in config}
    stated = {} if licence is None else {"card": {**dict.fromkeys(KEYS), **licence.to_header()}}
    return {**_placeless(config), **own, **stated}


def _placeless(value: Any) -> Any:
    """Replace absolute paths in nested values by their last component."""
    if isinstance(value, Mapping):
        return {name: _placeless(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_placeless(entry) for entry in value]
    if isinstance(value, str) and ABSOLUTE.match(value):
        return PureWindowsPath(value).name  # handles slashes, too
    return value


def _endpoint() -> str | None:
    """Address of the hub from HF_ENDPOINT, None for the default; huggingface_hub reads it only once, at its import."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


@contextmanager
def _refused(what: str, remedy: str) -> Iterator[None]:
    """Convert errors of huggingface_hub into a ConfigError with one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{what}: huggingface_hub is not installed; pip install 'audio-lightning[hub]'") from error
    except Exception as error:  # the package and its HTTP client have no common base class of errors
        if UNREACHABLE & {cls.__name__ for cls in type(error).__mro__}:
            remedy = "check the network; without it, only models that were downloaded before can be used"
        lines = (line.strip() for line in str(error).splitlines() if not STATUS.match(line))
        reason = next(filter(None, lines), type(error).__name__)
        raise ConfigError(f"{what}: the hub cannot be used ({reason}); {remedy}") from error
