"""What the processes of a training collect, each from its own clips."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric


class Collected(Metric):
    """Base of metrics whose processes collect their own clips until :meth:`gather` joins them.

    Torchmetrics would join them anew for each ``compute``, and only there.
    """

    full_state_update = False

    def __init__(self, **options: Any) -> None:
        super().__init__(sync_on_compute=False, **options)
        self._should_unsync = False  # compute() would undo it

    def gather(self) -> None:
        """Join the clips of all processes; each process must call this once before anything is computed.

        Nothing more can be collected until :meth:`reset`. With one process, nothing happens.
        """
        if not self._is_synced:
            self.sync()
            for name, state in self.metric_state.items():
                if isinstance(self._defaults[name], list) and isinstance(state, Tensor):
                    setattr(self, name, [state])  # as reset() expects it
