"""Data sources built from configurations, and their folders."""

from pathlib import Path
from typing import Any

from audio_lightning.config import build, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import Manifest


def source(name: str, root: Path, *overrides: str, **options: Any) -> AudioDataModule:
    """The source of conf/data/``name``.yaml; ``options`` are values that need no quoting."""
    config = compose(quote_paths([f"data={name}", f"data.root={root}", "data.sample_rate=8000", *overrides]))
    config.data.update(options)
    return build(config.data, AudioDataModule, where="data")


def read(name: str, root: Path, *overrides: str, **options: Any) -> Manifest:
    """The manifest of a source, see :func:`source`."""
    return source(name, root, *overrides, **options).read()


def touch(root: Path, *names: str) -> Path:
    """Create empty files: a manifest needs only names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root
