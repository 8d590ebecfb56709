"""Decoded recordings: cached once on a machine, memory-mapped, recognized by fingerprints."""
