"""How the C library deals with memory that tensors give back."""

import ctypes
import logging
import sys

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
