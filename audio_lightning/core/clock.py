"""Clock of a training that excludes the time in which it waits for other trainings in its process."""

import threading
import time

_thread = threading.local()


def perf_counter() -> float:
    """Like :func:`time.perf_counter`, minus the seconds that this thread passed to :func:`leave_out`.

    It measures trainings that share a process (:mod:`audio_lightning.training.fusion`). Without calls of
    :func:`leave_out`, both clocks are equal.
    """
    return time.perf_counter() - float(getattr(_thread, "waited", 0.0))


def leave_out(seconds: float) -> None:
    """Exclude ``seconds``, in which this thread waited for another training, from :func:`perf_counter`."""
    _thread.waited = getattr(_thread, "waited", 0.0) + seconds
