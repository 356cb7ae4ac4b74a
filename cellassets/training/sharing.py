"""What the processes of one training tell each other. With one process every function returns what it was given.

Every process takes an equal, contiguous share of every batch (`Share`). Embeddings are gathered before the loss, so
each process computes the loss of the whole batch, and all of them know the same number. Gradients are then averaged by
the strategy (`strategies.py`).

Why the gradients are right: each process has the loss L of the whole batch. The gradient of the embeddings is summed
over the P processes, so a process finds P times what its own sites contribute to dL/dw, and the mean over the processes
is dL/dw. The weights of the heads have dL/dw in every process, and the mean is the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int, Shaped


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process takes.

    Attributes:
        rank: number of the process, from 0.
        n: number of processes.
    """

    rank: int = 0
    n: int = 1

    def of(self, n_rows: int) -> slice:
        """Returns the rows of a batch of `n_rows`, a multiple of the number of processes."""
        size = n_rows // self.n
        return slice(self.rank * size, (self.rank + 1) * size)

    def blocks(self, n_sites: int, batch_size: int) -> list[Int[np.ndarray, "b"]]:
        """Returns the held-out sites of this process, in batches.

        Each site is in one batch of one process. All processes have equally many batches, none of them empty, and with
        `fsdp` they need each other for every batch.

        Args:
            n_sites: held-out sites, at least one per process.
            batch_size: sites of all processes together.
        """
        if self.n == 1:
            return np.split(np.arange(n_sites), range(batch_size, n_sites, batch_size))
        n_batches = min(math.ceil(n_sites / batch_size), n_sites // self.n)
        return np.array_split(np.arange(n_sites), n_batches * self.n)[self.rank :: self.n]


WHOLE = Share()


def is_shared() -> bool:
    """Returns whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def this_share() -> Share:
    """Returns the share of this process."""
    return Share(dist.get_rank(), dist.get_world_size()) if is_shared() else WHOLE


class _SummedOverAll(torch.autograd.Function):
    """The sum of a tensor over all processes; gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _RowsOfAll(torch.autograd.Function):
    """The rows of all processes in order; the gradient of the own rows is summed over all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[this_share().of(len(total))]


def summed_over_all(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the sum of a tensor over all processes."""
    return _SummedOverAll.apply(tensor) if is_shared() else tensor  # type: ignore[no-untyped-call]


def rows_of_all(tensor: Shaped[torch.Tensor, "b ..."]) -> Shaped[torch.Tensor, "all ..."]:
    """Returns the rows of all processes, in the order of the batch. Every process has equally many."""
    return _RowsOfAll.apply(tensor) if is_shared() else tensor  # type: ignore[no-untyped-call]


def columns_of_all(columns: Int[np.ndarray, "k n"], device: torch.device) -> Int[np.ndarray, "k all"]:
    """Returns the columns of all processes, each of which may have another number of them."""
    if not is_shared():
        return columns
    own = torch.from_numpy(np.ascontiguousarray(columns)).to(device)
    counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([own.shape[1]], device=device))
    longest = max(int(count) for count in counts)
    padded = torch.zeros((len(own), longest), dtype=own.dtype, device=device)
    padded[:, : own.shape[1]] = own
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return np.concatenate(
        [part[:, : int(count)].cpu().numpy() for part, count in zip(parts, counts, strict=True)], axis=1
    )


def agreed(value: float, device: torch.device) -> float:
    """Returns the number of the first process, so that all of them decide alike."""
    if not is_shared():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)


def pace_of_all(pace: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Returns the speed of all processes together: the sum of the sites per second, and the largest of all else.

    The processes wait for each other in every step. So the one that waits longest for images determines the speed, and
    the memory that counts is that of the process with the most.
    """
    if not is_shared():
        return dict(pace)
    found = {}
    for name in sorted(pace):
        value = torch.tensor([pace[name]], dtype=torch.float64, device=device)
        dist.all_reduce(value, dist.ReduceOp.SUM if name == "sites_per_second" else dist.ReduceOp.MAX)
        found[name] = float(value)
    return found
