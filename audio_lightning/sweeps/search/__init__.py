"""Search algorithms for sweeps: space, samplers, pruning, storage."""
