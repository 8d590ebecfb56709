"""Demo data source: synthetic recordings in the layout of UrbanSound8K."""

from pathlib import Path
from typing import Any

from audio_lightning.core.errors import DataError
from audio_lightning.data.manifest import Manifest
from audio_lightning.data.settings import CacheSettings
from audio_lightning.data.sources.demo.sounds import write_demo
from audio_lightning.data.sources.urbansound8k import UrbanSound8K
from audio_lightning.data.store.cache import Progress, default_cache_dir

VERSION = 1
"""Version of the generated recordings, part of the folder's name, so that an older copy is not used."""


class Demo(UrbanSound8K):
    """Ten classes of synthetic city sounds, without a download.

    They are written to disk once and then read like any other recordings. Accuracies on them show that the program
    works, but do not transfer to real city sounds.

    Args:
        root: folder for the recordings; by default one in the cache folder.
        **options: see :class:`AudioDataModule`.

    Example:
        >>> from audio_lightning.data.settings import ClipSettings
        >>> from audio_lightning.data.sources.demo.source import Demo
        >>> data = Demo(root="demo", clips=ClipSettings(sample_rate=16000, clip_seconds=4.0))
        >>> data.num_samples  # the recordings are written when they are first read
        64000
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
        """Write the recordings, unless they exist, and read their table."""
        write_once(self.root, self.progress_of("writing the demo recordings"))
        return super().read()


def demo_root(cache_dir: Path | None = None, *, write: bool = True, progress: Progress | None = None) -> Path:
    """Folder of the demo recordings, which are written first if ``write`` is True and they do not exist."""
    root = (cache_dir or default_cache_dir()) / f"demo-{VERSION}"
    if write:
        write_once(root, progress)
    return root


def write_once(root: Path, progress: Progress | None = None) -> None:
    """Write the demo recordings, unless they exist.

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
            f"cannot write the demo recordings to {root} ({error.strerror or error}); choose another folder with "
            "data.root or the environment variable AUDIO_LIGHTNING_CACHE"
        ) from error
