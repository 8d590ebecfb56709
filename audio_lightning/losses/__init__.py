"""Losses: modules that map logits ``[batch, classes]`` and targets to a loss per clip ``[batch]``; one per file."""
