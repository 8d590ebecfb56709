"""Processor cores: how many there are to work with, and work in as many threads."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SPINS = 1000
"""Turns that a thread waits for others awake, about ten microseconds; libgomp's own default is 300,000."""


def cores() -> int:
    """Cores that this process may use: fewer than there are, where it is bound to some or its container has a quota.

    A quota is rounded up to whole cores. ``LOKY_MAX_CPU_COUNT`` lowers the number, too.
    """
    # Late, as torch below: this is imported where neither is needed.
    from joblib import cpu_count  # type: ignore[import-untyped]

    return int(cpu_count())


def let_threads_sleep() -> None:
    """Have OpenMP threads that wait for others sleep after microseconds, not milliseconds.

    Beside another busy process, the thread that is waited for may not be running, and the cores are busy with waiting:
    ``benchmarks/threads.py``. libgomp reads the variable when torch is imported. What the user set is left as it is.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def at_most_set(threads: int) -> int:
    """So many threads, or as many as the user set (``OMP_NUM_THREADS``) where these are fewer; torch is not asked."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # more are for loops within loops
    return min(threads, int(first)) if first.isdecimal() and int(first) > 0 else threads


def share_threads(processes: int) -> int:
    """Let this process and others that work beside it have all cores together, and no more than these.

    A number that the user set (``OMP_NUM_THREADS``), or that was set for this process before, is never exceeded.

    Args:
        processes: how many share the cores, this one among them.

    Returns:
        The threads of this process.
    """
    import torch

    available = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        available = min(available, cores())
    threads = max(1, available // processes)
    torch.set_num_threads(threads)
    return threads


def busy_cores(seconds: float = 0.1) -> tuple[float, int]:
    """Cores of the machine that other processes keep busy, measured while this one sleeps, and all that there are.

    Args:
        seconds: how long to measure.
    """
    from psutil import cpu_count, cpu_percent

    total = cpu_count() or 1
    return float(cpu_percent(seconds)) / 100 * total, total


def in_order(function: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
    """Yield results of threads in the order of the items; the number computed ahead is bounded."""
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[T]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= 8 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
