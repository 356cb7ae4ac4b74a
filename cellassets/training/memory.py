"""Memory of networks: freed memory stays in the process, and running out of it is said with what to change."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from cellassets.errors import OutOfMemory

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
# torch raises a plain RuntimeError in these cases
OF_THE_GPU = ("CUDA out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
OF_THE_PROCESS = ("DefaultCPUAllocator", "can't allocate memory")


def keep_freed_memory() -> bool:
    """Returns whether this process now keeps freed memory for its next tensors. Only glibc can be set to do so.

    By default glibc maps new memory for every tensor above 32 MiB, and the system clears its pages for every layer.
    On a CPU this can take as long as the arithmetic (`bench/embedding.py` prints the ratio).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


@contextmanager
def memory_errors_named(what: str, *, stage: str, smaller: str) -> Iterator[None]:
    """Turns running out of memory into an error that says which limit to raise.

    A process that the system kills for its memory raises nothing; then the pod's status says `OOMKilled`.

    Args:
        what: the work, for the message.
        stage: name of the stage, whose entry in the table of pods has the limit.
        smaller: what to make smaller instead.

    Raises:
        OutOfMemory: there is not enough memory on the GPU or in the process.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        advice = _advice(error, stage)
        if advice is None:
            raise
        message = f"{what}: {advice}, or {smaller}. The error was: {str(error) or type(error).__name__}"
        raise OutOfMemory(message) from error


def is_about_memory(error: Exception) -> bool:
    """Returns whether an error says that there is not enough memory on the GPU or in the process."""
    return _advice(error, "") is not None


def _advice(error: Exception, stage: str) -> str | None:
    """What to raise, or None for an error that is not about memory."""
    if type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in OF_THE_GPU):
        return f"out of GPU memory: give the stage `{stage}` a GPU with more memory (its node selector in pods.yaml)"
    if isinstance(error, MemoryError) or any(text in str(error) for text in OF_THE_PROCESS):
        return f"out of memory: raise `memory_gib` of the stage `{stage}` in pods.yaml"
    return None
