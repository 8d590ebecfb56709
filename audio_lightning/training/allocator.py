"""Memory allocator settings for faster training on CPUs."""

import ctypes
import logging
import sys

import torch.utils.deterministic

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's ``mallopt``, from its malloc.h."""

KEPT_BLOCKS = 2**30
"""Blocks up to this size in bytes are taken from memory that the process already has."""


def keep_freed_memory() -> None:
    """Make the process reuse the memory of freed tensors.

    By default glibc requests every block above 32 MB from the system and returns it when it is freed. The activations
    of a batch are such blocks. Mapping and clearing their pages again in every step takes up to a third of a training
    on a CPU. With another C library, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not (mallopt(M_MMAP_THRESHOLD, KEPT_BLOCKS) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        logging.getLogger(__name__).info("the memory allocator cannot be set to keep freed memory")


def share_freed_memory() -> None:
    """Let each thread of the process reuse the memory that any of them has freed.

    By default glibc gives threads other than the first one separate arenas, whose pages return to the system as soon as
    they are free: :func:`keep_freed_memory` has no effect on them. Call this function before such threads start. With
    another C library, nothing changes.
    """
    if sys.platform.startswith("linux") and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_ARENA_MAX, 1)


def leave_new_memory_unfilled() -> None:
    """Switch off the filling of uninitialized memory in PyTorch's deterministic mode.

    By default, that mode fills every new tensor, so that an operation that reads uninitialized memory still gives the
    same numbers in every run. No operation of this package does so (the tests switch the filling on). Filling took 27
    to 30 % of a training on two cores with AVX-512 (docs/benchmarks/index.md).
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # added to the module
