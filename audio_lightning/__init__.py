"""Experiments and sweeps for audio classification on PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
