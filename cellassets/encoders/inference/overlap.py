"""Work on a GPU that overlaps: the next images are copied to it while it computes, and vectors are fetched later.

On a CPU nothing is launched ahead; there the next blocks are decoded meanwhile, as on a GPU.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32

N_IN_FLIGHT = 2  # blocks that the device works on while the next one is prepared
RowsT = TypeVar("RowsT")
ImagesT = TypeVar("ImagesT")


@dataclass(frozen=True)
class Pending:
    """Vectors that a device may still be computing."""

    vectors: Float[torch.Tensor, "site feature"]
    done: "torch.cuda.Event | None" = None

    def result(self) -> Float32[np.ndarray, "site feature"]:
        """Returns the vectors when they are there."""
        if self.done is not None:
            self.done.synchronize()
        return self.vectors.numpy()


def fetched(vectors: Float[torch.Tensor, "site feature"]) -> Pending:
    """Returns vectors on their way from a device to the memory of this process."""
    if vectors.device.type == "cpu":
        return Pending(vectors)
    here = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
    here.copy_(vectors, non_blocking=True)
    done = torch.cuda.Event()
    done.record()
    return Pending(here, done)


def overlapped(
    blocks: Iterable[tuple[RowsT, ImagesT]],
    launch: Callable[[RowsT, ImagesT], Pending],
    *,
    n_in_flight: int = N_IN_FLIGHT,
) -> Iterator[tuple[RowsT, Float32[np.ndarray, "site feature"]]]:
    """Yields rows and vectors in the order of the blocks.

    Args:
        blocks: rows and their images. Images are kept until their vectors are there: the copy may still read them.
        launch: starts the computation of a block.
        n_in_flight: blocks that may be computed while the next one is launched.
    """
    waiting: deque[tuple[RowsT, ImagesT, Pending]] = deque()
    for rows, images in blocks:
        waiting.append((rows, images, launch(rows, images)))
        if len(waiting) > n_in_flight:
            done, _, pending = waiting.popleft()
            yield done, pending.result()
    while waiting:
        done, _, pending = waiting.popleft()
        yield done, pending.result()


class Uploads:
    """Copies arrays to a device. On a GPU they go through a stream of their own, beside the computation."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._stream: Any = torch.cuda.Stream() if device == "cuda" else None

    def __call__(self, array: np.ndarray) -> torch.Tensor:
        """Returns the array on the device; what is launched next waits for it, the caller does not if it is pinned."""
        here = torch.from_numpy(array)
        if self._stream is None:
            return here
        with torch.cuda.stream(self._stream):
            there = here.to(self.device, non_blocking=True)
        current = torch.cuda.current_stream()
        current.wait_stream(self._stream)
        there.record_stream(current)  # else other data could be written there while it is still read
        return there

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Returns memory to decode images into. For a GPU it is pinned: only such memory is copied asynchronously."""
        if self._stream is None:
            return np.empty(shape, dtype=dtype)
        return torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=True).numpy()
