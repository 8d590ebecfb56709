"""Models on the Hugging Face hub: ``hf://OWNER/NAME`` where a checkpoint is named, and what is uploaded there."""

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

from audio_lightning.core.errors import ConfigError
from audio_lightning.run_folder import MODEL, RunFolder

SCHEME = re.compile(r"hf:/+")
"""How names on the hub begin; a path has one slash where two were typed."""

NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>[\w./-]+))?")
"""A name, and a branch, tag or commit."""

README = "README.md"

STATUS = re.compile(r"\d{3} Client Error")
"""Line of an error that says less than the next one."""

SECONDS_TO_ANSWER = 10.0
"""How long a hub may take to say whether it has a model."""

LEFT_OUT: Mapping[str, Any] = {"logger": {}, "trusted_modules": None}
"""Keys of a configuration that are of its owner alone (accounts, addresses, modules), and what stands for them."""

ABSOLUTE = re.compile(r"[/~\\]|[A-Za-z]:[/\\]")
"""How absolute paths begin."""


@dataclass(frozen=True)
class Upload:
    """Files that a push uploads.

    Attributes:
        name: ``OWNER/NAME``.
        url: page of the model.
        files: bytes of each file by its name there.
    """

    name: str
    url: str
    files: dict[str, int]


def is_hub_name(path: Path | str) -> bool:
    """Whether a checkpoint is named by its name on the hub."""
    return SCHEME.match(str(path)) is not None


def pull(path: Path | str) -> Path:
    """Download a checkpoint from the hub, once; it is a file of a stranger until it is loaded as such.

    Args:
        path: ``hf://OWNER/NAME``, or ``hf://OWNER/NAME@REVISION``.

    Returns:
        The file in the cache of huggingface_hub.

    Raises:
        ConfigError: a name that is none, no such model, no network, or huggingface_hub is not installed.
    """
    typed = SCHEME.sub("hf://", str(path))
    found = NAME.fullmatch(typed.removeprefix("hf://"))
    if found is None:
        raise ConfigError(f"{typed}: expected hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    with _refused(typed, f"expected a model with {MODEL}, as `audio-lightning push` uploads it"):
        return _downloaded(found["name"], found["revision"])


def _downloaded(name: str, revision: str | None) -> Path:
    """A checkpoint in the cache; what is there already is enough where there is no network.

    The hub is asked for the model first: for a file, huggingface_hub would try to connect for half a minute.
    """
    hub = import_module("huggingface_hub")
    unreachable: Exception | None = None
    try:
        hub.HfApi(endpoint=_endpoint()).model_info(name, revision=revision, timeout=SECONDS_TO_ANSWER)
    except hub.errors.HfHubHTTPError:  # an answer
        raise
    except Exception as error:
        unreachable = error
    try:
        options = {"revision": revision, "endpoint": _endpoint(), "local_files_only": unreachable is not None}
        return Path(hub.hf_hub_download(name, MODEL, **options))
    except hub.errors.LocalEntryNotFoundError as error:
        raise unreachable or error from None


def push(
    checkpoint: Path, card: str, name: str, *, folder: Path | None = None, private: bool = False, dry_run: bool = False
) -> Upload:
    """Upload a checkpoint with its card, configuration and metrics, which makes the model if there is none.

    Paths of this machine in the configuration become their last names, and loggers are left out.

    Args:
        checkpoint: file of a run or a fit.
        card: becomes ``README.md``.
        name: ``OWNER/NAME``.
        folder: of the run, for ``config.yaml`` and ``metrics.json``, where it has them.
        private: whether a new model is shown to its owner alone.
        dry_run: upload nothing.

    Raises:
        ConfigError: a name that is none, an account that may not write there, no network, or huggingface_hub is not
            installed.
        CheckpointError: a damaged checkpoint.
    """
    typed = SCHEME.sub("", name)
    found = NAME.fullmatch(typed)
    if found is None or found["revision"]:
        raise ConfigError(f"{name}: expected OWNER/NAME, such as somebody/dog-barks")
    with tempfile.TemporaryDirectory() as place:
        files = _prepare(Path(place), checkpoint, card, folder)
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


def _prepare(place: Path, checkpoint: Path, card: str, folder: Path | None) -> list[Path]:
    """The files to upload, in a folder of their own."""
    from audio_lightning.classifier.checkpoint import read_contents, write_checkpoint
    from audio_lightning.config.saved import read_saved

    write_checkpoint(place / MODEL, without_places(read_contents(checkpoint)))
    (place / README).write_text(card, encoding="utf-8")
    run = RunFolder(folder) if folder is not None else None
    if run is not None and run.config.is_file():
        text = yaml.safe_dump(_shared(read_saved(run.config)), sort_keys=False, allow_unicode=True)
        (place / run.config.name).write_text(text, encoding="utf-8")
    if run is not None and run.metrics.is_file():
        (place / run.metrics.name).write_bytes(run.metrics.read_bytes())
    return sorted(place.iterdir())


def without_places(contents: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint, or an ensemble of them, with what a prediction needs and without places of a machine."""
    from audio_lightning.classifier.checkpoint import is_ensemble
    from audio_lightning.classifier.ensemble_file import KEPT

    if is_ensemble(contents):
        written = {**contents["audio_lightning"], "notes": _placeless(contents["audio_lightning"].get("notes", {}))}
        return {**contents, "audio_lightning": written, "members": [without_places(one) for one in contents["members"]]}
    kept = {name: contents[name] for name in KEPT}
    parameters = kept["hyper_parameters"]
    return {**kept, "hyper_parameters": {**parameters, "config": _shared(parameters["config"])}}


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without places and accounts of its owner."""
    own = {name: empty for name, empty in LEFT_OUT.items() if name in config}
    return {**_placeless(config), **own}


def _placeless(value: Any) -> Any:
    """Plain values with the last name of each absolute path in its place."""
    if isinstance(value, Mapping):
        return {name: _placeless(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_placeless(entry) for entry in value]
    if isinstance(value, str) and ABSOLUTE.match(value):
        return PureWindowsPath(value).name  # of paths with slashes, too
    return value


def _endpoint() -> str | None:
    """Address of the hub where it is not the usual one; read each time, and not once as huggingface_hub does."""
    return (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None


@contextmanager
def _refused(what: str, remedy: str) -> Iterator[None]:
    """Say in one line why the hub cannot be used."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what}: the Hugging Face hub needs a package that is not installed: pip install 'audio-lightning[hub]'"
        ) from error
    except Exception as error:  # whatever that package and its client for HTTP have as errors
        lines = (line.strip() for line in str(error).splitlines() if not STATUS.match(line))
        reason = next(filter(None, lines), type(error).__name__)
        raise ConfigError(f"{what}: the hub cannot be used ({reason}); {remedy}") from error
