"""Seeds of all generators that something random may be drawn from."""

import random
from collections.abc import Sequence

import numpy as np
import torch


def seed_generators(entropy: Sequence[int]) -> None:
    """Let everything that is drawn from now on be a function of some whole numbers, of 0 or more."""
    number = int(np.random.SeedSequence(list(entropy)).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - libraries draw from the legacy generator
    torch.manual_seed(number)
