"""What the C library does with memory that a network has freed."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Makes this process keep freed memory for its next tensors; True where that can be set, that is with glibc.

    By default every tensor above 32 MiB is mapped anew and its pages are cleared one by one, layer after layer: on a
    CPU that can cost as much time as the arithmetic (`bench/embedding.py` prints the ratio).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
