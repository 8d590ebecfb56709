"""Data sets: sources, manifests, splits, the cache of decoded recordings, and batches of clips."""
