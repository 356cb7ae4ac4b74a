"""Alternative assignments of plates to batches: plates move as a whole, and batches keep their numbers of plates."""

from collections import Counter
from collections.abc import Iterator
from math import factorial, prod

import numpy as np
from jaxtyping import Int

from cellassets.statistics.permutation import permuted_within

Assignments = Int[np.ndarray, "draw plate"]


def plate_assignments(batch: Int[np.ndarray, "plate"], n_draws: int, rng: np.random.Generator) -> Assignments:
    """Returns the batch of each plate as observed (row 0) and under permutations of plates.

    Where at most `n_draws` assignments group the plates differently, each of them is returned once, with the names of
    batches of one size exchanged at random. p-values are then exact, and cannot be smaller than 1 / (number of
    assignments).

    Args:
        batch: number of each plate's batch, from 0.
        n_draws: number of permutations otherwise.
        rng: source of the permutations.
    """
    if n_distinct_assignments(batch) > n_draws:
        return np.stack([batch, *(rng.permutation(batch) for _ in range(n_draws))])
    observed = _by_first_plate(batch)
    sizes = np.bincount(batch)
    others = (found for found in _all_assignments(sizes.tolist()) if _by_first_plate(found) != observed)
    return np.array([batch, *(permuted_within(sizes, rng)[found] for found in others)])


def n_distinct_assignments(batch: Int[np.ndarray, "plate"]) -> int:
    """Returns the number of ways to group plates into batches of these sizes, whatever the batches' names."""
    sizes = np.bincount(batch).tolist()
    alike = Counter(sizes).values()
    return factorial(len(batch)) // (prod(factorial(n) for n in sizes) * prod(factorial(n) for n in alike))


def _all_assignments(sizes: list[int]) -> Iterator[list[int]]:
    """Every grouping once: of the empty batches of one size, a plate may only open the first."""

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
    """Batches numbered by their first occurrence: equal where the same plates are grouped."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(name), len(numbers)) for name in batch]
