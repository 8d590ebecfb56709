"""How memory for tensors is got and given back."""

import ctypes
import logging
import sys

import torch.utils.deterministic

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``, from its malloc.h."""

KEPT_BLOCKS = 2**30
"""Blocks up to so many bytes are taken from memory that was used before."""


def keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors for the next ones.

    By default glibc asks the system for every block above 32 MB and gives it back when it is freed. The activations of
    a batch are such blocks, and having each of their pages mapped and cleared anew in every step takes up to a third
    of a training on a CPU. Where there is another C library, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not (mallopt(M_MMAP_THRESHOLD, KEPT_BLOCKS) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        logging.getLogger(__name__).info("the allocator cannot be told to keep freed memory")


def leave_new_memory_unfilled() -> None:
    """Let PyTorch's deterministic algorithms skip the filling of memory that is written over right after.

    Otherwise every new tensor is filled first, so that an operation that reads memory before anything was written there
    gives the same numbers in every run. No operation of ours does (the tests fill it), and filling took 27 to 30 % of a
    training on two cores with AVX-512 (docs/benchmarks.md).
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # added to the module
