"""Losses: modules from logits ``[batch, classes]`` and targets to a loss a clip, ``[batch]``; one a file."""
