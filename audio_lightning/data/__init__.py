"""Many recordings: sources, manifests, splits, the cache and the loaders; one source a file."""

from audio_lightning.lazy import by_module_name

__getattr__ = by_module_name(__name__)
