"""Seeding of all random number generators."""

import random
from collections.abc import Sequence

import numpy as np
import torch


def seed_generators(entropy: Sequence[int]) -> None:
    """Seed Python's, NumPy's and PyTorch's generators from a sequence of non-negative integers."""
    number = int(np.random.SeedSequence(list(entropy)).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - libraries draw from the legacy generator
    torch.manual_seed(number)
