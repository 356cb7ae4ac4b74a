"""Keeps freed memory in the process, which makes networks on a CPU faster."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Returns whether this process now keeps freed memory for its next tensors. Only glibc can be set to do so.

    By default glibc maps new memory for every tensor above 32 MiB, and the system clears its pages for every layer.
    On a CPU this can take as long as the arithmetic (`bench/embedding.py` prints the ratio).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
