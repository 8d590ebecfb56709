"""Base class of metrics that gather the clips of all processes once."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric


class Collected(Metric):
    """Base class of metrics whose processes collect their own clips until :meth:`gather` joins them.

    Torchmetrics would gather them again in each ``compute``, and nowhere else.
    """

    full_state_update = False

    def __init__(self, **options: Any) -> None:
        super().__init__(sync_on_compute=False, **options)
        self._should_unsync = False  # compute() would undo the gathering

    def gather(self) -> None:
        """Join the clips of all processes; each process calls this once before ``compute``.

        No batch can be added afterwards until :meth:`reset`. With one process this does nothing.
        """
        if not self._is_synced:
            self.sync()
            for name, state in self.metric_state.items():
                if isinstance(self._defaults[name], list) and isinstance(state, Tensor):
                    setattr(self, name, [state])  # reset() expects a list
