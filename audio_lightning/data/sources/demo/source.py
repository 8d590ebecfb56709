"""The embedded demo: generated recordings in the layout of UrbanSound8K."""

from pathlib import Path
from typing import Any

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.settings import CacheSettings
from audio_lightning.data.sources.demo.sounds import write_demo
from audio_lightning.data.sources.urbansound8k import UrbanSound8K
from audio_lightning.data.store.cache import Progress, default_cache_dir

VERSION = 1
"""Counted up when the generated recordings change, so that an older copy is not taken for them."""


class Demo(UrbanSound8K):
    """Ten classes of synthetic city sounds that need no download.

    They are written to disk once and then read like any other recordings. What a network reaches on them says
    whether the program works; it says nothing about real city sounds.

    Args:
        root: folder to write them to and read them from; by default one in the cache folder.
        **options: see :class:`AudioDataModule`.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        cache: CacheSettings = CacheSettings(),
        **options: Any,
    ) -> None:
        super().__init__(root=root or str(demo_root(cache.root, write=False)), cache=cache, **options)

    def read(self) -> Manifest:
        """Write the recordings if they are not there, then read their table."""
        write_once(self.root, self.progress)
        return super().read()


def demo_root(cache_dir: Path | None = None, *, write: bool = True, progress: Progress | None = None) -> Path:
    """Folder of the demo recordings, written first if ``write`` and they are not there."""
    root = (cache_dir or default_cache_dir()) / f"demo-{VERSION}"
    if write:
        write_once(root, progress)
    return root


def write_once(root: Path, progress: Progress | None = None) -> None:
    """Write the demo recordings unless they are there.

    Raises:
        DataError: the folder cannot be written.
    """
    if (root / Demo.TABLE).exists():
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        write_demo(root, progress=progress)
    except OSError as error:
        raise DataError(
            f"cannot write the demo recordings to {root} ({error.strerror or error}): name another folder by data.root "
            "or the environment variable AUDIO_LIGHTNING_CACHE"
        ) from error
