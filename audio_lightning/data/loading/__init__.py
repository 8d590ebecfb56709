"""Batches of clips from decoded recordings."""
