"""Process-wide state that is saved and restored for each of several trainings in one process."""

import logging
import os
import random
import sys
import warnings
from typing import Any

import numpy as np

from audio_lightning.training.fusion.random_states import RandomState

SEED_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
"""Environment variables that ``lightning.pytorch.seed_everything`` sets."""

STREAMS = (1, 2)
"""File descriptors of the standard output and the standard error."""


class ProcessState:
    """Process-wide state of a training, initially a copy of the current state.

    It has the random generators, the level and handlers of the root logger, the filters and hook of warnings, the seed
    variables, and the targets of standard output and standard error. Other state is either local to the thread
    (gradient mode, context variables) or equal for all trainings of a process (deterministic algorithms).

    Attributes:
        random: state of torch's random generators.
    """

    def __init__(self) -> None:
        self.random = RandomState()
        self._output: list[int] = []
        self.save()

    def save(self) -> None:
        """Save the current state of the process."""
        self.random.save()
        self._numpy: Any = np.random.get_state()  # noqa: NPY002 - libraries draw from the legacy generator
        self._python = random.getstate()
        root = logging.getLogger()
        self._logging = root.level, list(root.handlers)
        self._warnings = warnings.filters, warnings.showwarning
        self._environment = {name: os.environ.get(name) for name in SEED_VARIABLES}
        _flush()
        self.close()
        self._output = [os.dup(number) for number in STREAMS]

    def restore(self) -> None:
        """Restore the saved state, which stays saved."""
        self.random.restore()
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)
        root = logging.getLogger()
        root.handlers = list(self._logging[1])
        root.setLevel(self._logging[0])
        warnings.filters, warnings.showwarning = self._warnings
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _flush()
        for number, kept in zip(STREAMS, self._output):
            os.dup2(kept, number)

    def close(self) -> None:
        """Close the saved file descriptors; the state cannot be restored completely after that."""
        for kept in self._output:
            os.close(kept)
        self._output = []


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
