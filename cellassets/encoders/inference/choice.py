"""The choice of a backend by measurement: the fastest one whose vectors are those of torch in float32.

Speed is measured on the first batch, in turns with the reference. The vectors are compared on sites that are spread
over the table. What was refused, and why, is part of the decision.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field
from torch import nn

from cellassets.configuration import Parameters
from cellassets.encoders.inference.backend import FAILURES, REFERENCE, Backend, Forward, Precision, short

MIN_COSINE = 0.999
MIN_GAIN = 1.1  # what gains less changes the last digits for nothing, and may be noise of the measurement
N_ROUNDS = 3
N_JUDGED = 64  # sites

Images = Float[torch.Tensor, "site channel h w"]
Timer = Callable[[Forward, Images], float]


class Decision(Parameters):
    """The backend of a table, and how it was found.

    Attributes:
        backend: its name.
        precision: its number format.
        speed_ratio: how many times as fast as the reference it was on the first batch; None if nothing was measured.
        min_cosine: lowest cosine between the vector of a judged site and its vector by the reference, both after the
            mean of the latter is subtracted; None if nothing was measured.
        refused: the other backends, and why each was not taken.
    """

    backend: str
    precision: Precision
    speed_ratio: float | None = None
    min_cosine: float | None = None
    refused: dict[str, str] = Field(default_factory=dict)

    def __str__(self) -> str:
        measured = ""
        if self.speed_ratio is not None:
            measured = f", {self.speed_ratio:.2f} x {REFERENCE}, lowest centred cosine {self.min_cosine:.6f}"
        others = "; ".join(f"{name}: {why}" for name, why in self.refused.items())
        return f"{self.backend}{measured}" + (f" (not taken: {others})" if others else "")


def wall_s(forward: Forward, batch: Images) -> float:
    """Returns the seconds until the vectors of a batch are in the memory of this process."""
    started = time.perf_counter()
    forward(batch).cpu()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Trial:
    """What backends are judged on.

    Attributes:
        network: in evaluation mode, on its device.
        batch: the first batch, normalised, on the device; the speed is measured on it.
        judged: returns batches of sites that are spread over the table; the vectors are compared on them. It is called
            once per comparison, so that they need not stay in memory.
        n_sites: sites of the table.
        timer: returns the seconds that a function needs for a batch.
    """

    network: nn.Module
    batch: Images
    judged: Callable[[], Iterable[Images]]
    n_sites: int
    timer: Timer = field(default=wall_s)

    def choose(self, reference: Backend, candidates: Sequence[Backend]) -> Decision:
        """Returns the fastest backend that is right. The reference is taken where no other one is.

        Args:
            reference: torch in float32.
            candidates: what may be faster.
        """
        exact = reference.prepare(self.network, self.batch)
        table_s = self._table_s(exact)
        refused: dict[str, str] = {}
        rights: list[tuple[float, Backend, Forward]] = []
        for backend in candidates:
            found = self._measured(backend, exact, table_s)
            if isinstance(found, str):
                refused[backend.name] = found
            else:
                rights.append((found[0], backend, found[1]))
        chosen = self._fastest_right(sorted(rights, key=lambda one: -one[0]), exact, refused)
        return chosen or Decision(backend=reference.name, precision=reference.precision, refused=refused)

    def _table_s(self, exact: Forward) -> float:
        """Seconds of the reference for the whole table. The first call warms up."""
        seconds = min(self.timer(exact, self.batch) for _ in range(2))
        return seconds / len(self.batch) * self.n_sites

    def _measured(self, backend: Backend, exact: Forward, table_s: float) -> tuple[float, Forward] | str:
        """How many times as fast as the reference, and the prepared function; or why it is refused."""
        if table_s < backend.min_table_s:
            return f"the table takes about {table_s:.0f} s, it is tried from {backend.min_table_s:.0f} s on"
        absence = backend.absence()
        if absence is not None:
            return absence
        try:
            forward = backend.prepare(self.network, self.batch)
            forward(self.batch)
            rounds = [[self.timer(one, self.batch) for one in (exact, forward)] for _ in range(N_ROUNDS)]
        except FAILURES as error:
            return f"it cannot compute this network: {short(error)}"
        slow_s, fast_s = (min(times) for times in zip(*rounds, strict=True))
        ratio = slow_s / fast_s
        return (ratio, forward) if ratio >= MIN_GAIN else f"{ratio:.2f} x {REFERENCE}, expected {MIN_GAIN} x"

    def _fastest_right(
        self, by_speed: Sequence[tuple[float, Backend, Forward]], exact: Forward, refused: dict[str, str]
    ) -> Decision | None:
        truth: list[Float32[np.ndarray, "site feature"]] = []
        for place, (ratio, backend, forward) in enumerate(by_speed):
            if not truth:
                truth.append(self._vectors(exact))
            cosine = min_centred_cosine(truth[0], self._vectors(forward))
            if not cosine >= MIN_COSINE:  # also where it is not a number
                refused[backend.name] = f"{ratio:.2f} x, but lowest centred cosine {cosine:.4f}, expected {MIN_COSINE}"
                continue
            for slower_ratio, slower, _ in by_speed[place + 1 :]:
                refused[slower.name] = f"{slower_ratio:.2f} x, slower than {backend.name}"
            return Decision(
                backend=backend.name,
                precision=backend.precision,
                speed_ratio=round(ratio, 3),
                min_cosine=round(cosine, 6),
                refused=refused,
            )
        return None

    def _vectors(self, forward: Forward) -> Float32[np.ndarray, "site feature"]:
        return np.concatenate([forward(batch).cpu().numpy() for batch in self.judged()])


def min_centred_cosine(a: Float[np.ndarray, "site feature"], b: Float[np.ndarray, "site feature"]) -> float:
    """Returns the smallest cosine between corresponding rows after subtracting the mean of `a`; 1 for a single row."""
    if len(a) < 2:
        return 1.0
    left, right = a - a.mean(axis=0), b - a.mean(axis=0)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.min(np.sum(left * right, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)))
