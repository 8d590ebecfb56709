"""Identity of trials: two trials are the same if they would compute the same result.

The identity is a hash of the resolved configuration without keys that do not change the result, of the labelled
recordings and their splits, and of the version of this package.
"""

import copy
import functools
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from audio_lightning import __version__
from audio_lightning.compare.trials import REPETITION_KEYS
from audio_lightning.config.overrides import holds_path
from audio_lightning.config.targets import TOP_LEVEL
from audio_lightning.config.trust import source_files
from audio_lightning.core.errors import CheckpointError
from audio_lightning.run_folder import RunFolder, find_checkpoint

WITHOUT_EFFECT = re.compile(
    r"(logger|hydra|dashboard|card)(\..*)?|plots|resume|trusted_modules|feature_memory_gb|data\.(table(\..+)?|num_workers|resident|download"
    r"|allow_leakage|cache_(dir|max_gb|identity))|callbacks\.device_stats(\..*)?|trainer\.(accelerator|devices|num_nodes|strategy|log_every_n_steps|profiler)"
)
"""Keys of locations, devices, speed, logging and the card, which do not change the result."""


def canonical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved configuration that determines the result, as a flat mapping with dotted keys.

    Data folders are left out, because the fingerprint of their content is part of the identity. Paths of weights, noise
    and impulse responses are replaced by a hash of their content. The number of devices is kept, because two devices
    process twice as many clips per optimizer step.
    """
    found = {key: value for key, value in _flat(config) if not WITHOUT_EFFECT.fullmatch(key)}
    for key, value in list(found.items()):
        if not holds_path(key, value):
            continue
        if key.startswith("data."):
            del found[key]
        elif isinstance(value, str) and Path(value).expanduser().exists():
            found[key] = _of_files(_part_in_use(key, Path(value).expanduser()))
    if found.get("distill.teacher") is None:
        found = {key: value for key, value in found.items() if key.partition(".")[0] != "distill"}
    trainer = config.get("trainer", {})
    tuner = config.get("tuner") or {}
    if tuner.get("lr_find"):  # replaced by the found value, also in the configuration of the run
        found.pop("optimizer.lr", None)
    if tuner.get("scale_batch_size"):
        found.pop("data.batch_size", None)
    processes = [trainer.get(name) for name in ("devices", "num_nodes")]
    found["processes"] = [value for value in processes if value not in ("auto", 1, "1")]
    return {**found, **_sources(found)}


def setup_hash(config: Mapping[str, Any], content: str | None, apart: Collection[str] = ()) -> str:
    """Return the identity shared by trials that differ only in seeds, folds and the keys ``apart``."""
    left_out = {*REPETITION_KEYS, *apart}
    kept = {key: value for key, value in canonical_config(config).items() if key not in left_out}
    return digest([kept, content, __version__])


def trial_hash(config: Mapping[str, Any], content: str | None, division: str | None) -> str:
    """Return the identity of a trial, from its configuration and the fingerprints of its recordings and splits."""
    return digest([canonical_config(config), content, division, __version__])


def digest(values: Any) -> str:
    """Return the SHA-256 of plain values, independent of the order of mapping keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def grid_hash(overrides: Iterable[str]) -> str:
    """Return the default name of a sweep: a hash of its overrides, independent of their order."""
    return digest(sorted(overrides))[:12]


def _part_in_use(key: str, path: Path) -> Path:
    """Return the checkpoint in a folder of a run or a fit, whose other files may change, otherwise the path itself."""
    if key == "model.pretrained" and (best := RunFolder(path).best).exists():
        return best
    if key == "distill.teacher":
        with suppress(CheckpointError):  # reported by the pre-flight check
            return find_checkpoint(path)
    return path


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", copy.deepcopy(value)


def _sources(flat: Mapping[str, Any]) -> dict[str, str]:
    """Return a hash of the source of every user module among the targets, which have no version of their own."""
    targets = [str(value) for key, value in flat.items() if key.endswith("_target_") and value is not None]
    own = {target.partition(".")[0] for target in targets} - TOP_LEVEL
    return {f"sources.{module}": _hash_of(source_files(module)) for module in sorted(own)}


def _of_files(path: Path) -> str:
    return _hash_of(sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path])


def _hash_of(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        stat = file.stat()
        found.update(_digest_of(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return found.hexdigest()


@functools.cache
def _digest_of(file: Path, *stat: int) -> bytes:
    """Return the digest of a file, cached as long as its size and times are unchanged."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
