"""Which batches plates could belong to as well: plates move as a whole, and batches keep their numbers of plates."""

from collections import Counter
from collections.abc import Iterator
from math import factorial, prod

import numpy as np
from jaxtyping import Int

from cellassets.statistics.permutation import permuted_within

Assignments = Int[np.ndarray, "draw plate"]


def plate_assignments(batch: Int[np.ndarray, "plate"], n_draws: int, rng: np.random.Generator) -> Assignments:
    """Returns the batch of each plate as observed (row 0) and under permutations of plates.

    Where no more than `n_draws` assignments differ from each other in which plates are together, they are all there,
    each once, with batches of one size called by each other's names at random: p-values are then exact, and can be no
    smaller than one in their number.

    Args:
        batch: number of each plate's batch, from 0.
        n_draws: permutations otherwise.
        rng: draws them.
    """
    if n_distinct_assignments(batch) > n_draws:
        return np.stack([batch, *(rng.permutation(batch) for _ in range(n_draws))])
    observed = _by_first_plate(batch)
    sizes = np.bincount(batch)
    others = (found for found in _all_assignments(sizes.tolist()) if _by_first_plate(found) != observed)
    return np.array([batch, *(permuted_within(sizes, rng)[found] for found in others)])


def n_distinct_assignments(batch: Int[np.ndarray, "plate"]) -> int:
    """Returns in how many ways plates can be together in batches of these sizes, whatever the batches are called."""
    sizes = np.bincount(batch).tolist()
    alike = Counter(sizes).values()
    return factorial(len(batch)) // (prod(factorial(n) for n in sizes) * prod(factorial(n) for n in alike))


def _all_assignments(sizes: list[int]) -> Iterator[list[int]]:
    """Every way once: of the batches of one size that are still empty, a plate may only open the first."""

    def extended(so_far: list[int]) -> Iterator[list[int]]:
        if len(so_far) == sum(sizes):
            yield so_far
            return
        taken = [so_far.count(batch) for batch in range(len(sizes))]
        opened: set[int] = set()
        for batch, size in enumerate(sizes):
            if taken[batch] == size or (taken[batch] == 0 and size in opened):
                continue
            if taken[batch] == 0:
                opened.add(size)
            yield from extended([*so_far, batch])

    return extended([])


def _by_first_plate(batch: list[int] | Int[np.ndarray, "plate"]) -> list[int]:
    """Batches numbered by when they first occur: equal where the same plates are together."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(name), len(numbers)) for name in batch]
