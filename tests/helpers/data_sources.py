"""Data sources as a configuration builds them, and folders that they read."""

from pathlib import Path
from typing import Any

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest


def source(name: str, root: Path, *overrides: str, **options: Any) -> AudioDataModule:
    """The source of conf/data/``name``.yaml; ``options`` are values that need no quoting so."""
    config = compose(quote_paths([f"data={name}", f"data.root={root}", "data.sample_rate=8000", *overrides]))
    config.data.update(options)
    return build(config.data, AudioDataModule, where="data")


def read(name: str, root: Path, *overrides: str, **options: Any) -> Manifest:
    """The manifest of such a source."""
    return source(name, root, *overrides, **options).read()


def touch(root: Path, *names: str) -> Path:
    """Make empty files: a manifest is made from names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root
