"""State of torch's random generators, on the CPU and on the current GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomState:
    """Stream of random numbers, from which torch draws while it is :meth:`used`.

    It starts with the current state of torch's generators.
    """

    def __init__(self) -> None:
        self._cpu: Tensor = torch.empty(0)
        self._cuda: Tensor | None = None
        self.save()

    def save(self) -> None:
        """Save the state of the generators in this stream."""
        self._cpu = torch.get_rng_state()
        # Reading the state of a GPU would initialize CUDA.
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Set the generators to the state of this stream."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)

    def copy(self) -> "RandomState":
        """Return an independent stream with the same state."""
        found = RandomState.__new__(RandomState)
        found._cpu = self._cpu.clone()
        found._cuda = None if self._cuda is None else self._cuda.clone()
        return found

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from this stream; the previous state of the generators is not restored afterwards."""
        self.restore()
        yield
        self.save()
