"""End of a process together with the process that started it."""

import os
import threading
import time


def end_with_parent(parent: int) -> None:
    """End this process, without any clean-up, soon after the process that started it has ended for any reason.

    Args:
        parent: id of that process.
    """
    threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
