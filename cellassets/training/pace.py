"""How fast a training is: sites per second, the share of the time in which it waits for images, and memory.

One `Pace` belongs to one training. `batches.py` reports its waiting to it; the module begins and ends each epoch.
"""

import resource
import time

import torch

GIB = 2**30


class Pace:
    """Times the training part of one epoch after another; the judgement of held-out sites is left out."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begins an epoch."""
        self._waited_s = 0.0
        self._n_sites = 0
        self._started_s = time.monotonic()
        self._ended_s: float | None = None

    def waited(self, seconds: float) -> None:
        """Adds time in which the training waited for a batch."""
        self._waited_s += seconds

    def trained(self, n_sites: int) -> None:
        """Adds the sites of a batch."""
        self._n_sites += n_sites

    def end(self) -> None:
        """Ends the training part of the epoch. Only the first call counts."""
        self._ended_s = self._ended_s or time.monotonic()

    def measured(self) -> dict[str, float]:
        """Returns the speed of the epoch that has ended.

        `sites_per_second`, `data_wait_frac` (0 to 1: share of the time in which no batch was ready), and
        `peak_memory_gib` (of the GPU where there is one, else of the process; the highest since the process began).
        """
        self.end()
        seconds = max((self._ended_s or 0.0) - self._started_s, 1e-9)
        return {
            "sites_per_second": self._n_sites / seconds,
            "data_wait_frac": min(self._waited_s / seconds, 1.0),
            "peak_memory_gib": _peak_memory_bytes() / GIB,
        }


def _peak_memory_bytes() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0  # Linux counts KiB
