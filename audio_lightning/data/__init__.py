"""Many recordings: sources, manifests, splits, the cache and batches of clips."""
