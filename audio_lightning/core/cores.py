"""CPU cores and threads."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SPINS = 1000
"""Iterations that a waiting OpenMP thread spins before it sleeps, about 10 us; libgomp's default is 300,000."""


def cores() -> int:
    """Number of cores available to this process.

    CPU affinity, a container's quota (rounded up to whole cores) and ``LOKY_MAX_CPU_COUNT`` reduce it.
    """
    # Late, as torch below: most modules that import this one need neither.
    from joblib import cpu_count  # type: ignore[import-untyped]

    return int(cpu_count())


def let_threads_sleep() -> None:
    """Let waiting OpenMP threads sleep after microseconds instead of milliseconds.

    If other processes are busy, the thread that the others wait for may not be running, and spinning wastes the cores
    (``benchmarks/threads.py``). libgomp reads the variable when torch is imported. A value set by the user is kept.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def at_most_set(threads: int) -> int:
    """Return ``threads``, or ``OMP_NUM_THREADS`` if that is set and smaller, without importing torch."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # further numbers are for nested loops
    return min(threads, int(first)) if first.isdecimal() and int(first) > 0 else threads


def share_threads(processes: int) -> int:
    """Set the number of torch threads of this process to its share of the cores.

    It never exceeds a number that the user set (``OMP_NUM_THREADS``), or that was set for this process before.

    Args:
        processes: number of processes that share the cores, this one included.

    Returns:
        The number of threads of this process.
    """
    import torch

    available = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        available = min(available, cores())
    threads = max(1, available // processes)
    torch.set_num_threads(threads)
    return threads


def busy_cores(seconds: float = 0.1) -> tuple[float, int]:
    """Measure how many cores of the machine are busy with other processes, while this one sleeps.

    Args:
        seconds: duration of the measurement.

    Returns:
        Busy cores, and all cores of the machine.
    """
    from psutil import cpu_count, cpu_percent

    total = cpu_count() or 1
    return float(cpu_percent(seconds)) / 100 * total, total


def in_order(function: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
    """Apply a function in ``workers`` threads; yield results in the order of the items, with a bounded look-ahead."""
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
