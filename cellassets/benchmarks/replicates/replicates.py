"""A statistic of every perturbation's wells, as observed and with labels shuffled within plates.

This is the null distribution of units of one perturbation; that of genes with several guides is in `guides.py`.
Shuffling the labels of treated wells within plates keeps the
number of wells of every perturbation on every plate, so the null distribution contains the same leftover plate and
batch effects as the statistic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.errors import NotApplicable
from cellassets.mapping.moments import group_sums
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.permutation import permuted_within, settled_ties

# takes the wells (vectors of length 1 or 0) and the wells of each unit; returns one value per unit
Statistic = Callable[[np.ndarray, "Replicates"], np.ndarray]


@dataclass(frozen=True)
class Replicates:
    """The unit of each well, and how many wells each unit has."""

    unit: Int[np.ndarray, "well"]
    counts: Int[np.ndarray, "unit"]

    def sums(self, values: Float[np.ndarray, "well feature"]) -> Float[np.ndarray, "unit feature"]:
        """Returns the sum of each unit's rows of `values`, without a sorted copy of them."""
        return group_sums(values, self.unit, len(self.counts))


@dataclass(frozen=True)
class ReplicateDraws:
    """A statistic of every unit with replicates: row 0 of `draws` as observed, the others with labels shuffled."""

    names: list[str]
    n_wells: Int[np.ndarray, "unit"]
    draws: Float[np.ndarray, "draw unit"]

    @property
    def nodes(self) -> Int[np.ndarray, "unit node"]:
        """What each unit's value depends on: the unit itself."""
        return np.arange(len(self.names))[:, None]


def check_replicates(judged: JudgedMap) -> None:
    """Raises where a screen has no replicates.

    Raises:
        NotApplicable: no perturbation has two wells.
    """
    counts = np.unique(np.array(judged.units)[judged.is_treatment], return_counts=True)[1]
    if not (counts >= 2).any():
        message = f"none of {len(counts)} perturbations has two wells; this benchmark needs replicates"
        raise NotApplicable(message)


def replicate_draws(judged: JudgedMap, statistic: Statistic, *, n_permutations: int, seed: int) -> ReplicateDraws:
    """Returns a statistic of the wells of each unit of one perturbation, against labels shuffled within plates.

    Args:
        judged: the map; its treated wells, as rows of length 1, are passed to the statistic. Units with several guides
            are left out.
        statistic: takes the wells and the wells of each unit; returns one value per unit. Values of units with one well
            are not used.
        n_permutations: draws of the null distribution.
        seed: of the draws.

    Raises:
        NotApplicable: no unit has two wells.
    """
    check_replicates(judged)
    treated = np.flatnonzero(judged.is_treatment & ~has_several_guides(judged))
    names, group = np.unique(np.array(judged.units)[treated], return_inverse=True)
    counts = np.bincount(group)
    is_kept = counts >= 2
    wells, plate = unit_rows(judged.vectors[treated]), judged.plate_index[treated]
    rng = np.random.default_rng(seed)
    shuffled = (_given_to(permuted_within(plate, rng), group) for _ in range(n_permutations))
    observed, *null = (statistic(wells, Replicates(unit, counts))[is_kept] for unit in chain([group], shuffled))
    return ReplicateDraws(names[is_kept].tolist(), counts[is_kept], settled_ties(np.stack([observed, *null])))


def has_several_guides(judged: JudgedMap) -> Bool[np.ndarray, "well"]:
    """Returns true for each treated well of a unit with several perturbations: a gene with several guides."""
    unit = np.unique(judged.units, return_inverse=True)[1]
    guide = np.unique(judged.wells["perturbation_id"].to_numpy(), return_inverse=True)[1]
    pairs = np.unique(np.stack([unit, guide])[:, judged.is_treatment], axis=1)
    return judged.is_treatment & (np.bincount(pairs[0], minlength=unit.max() + 1) > 1)[unit]


def genes_with_one_guide(judged: JudgedMap) -> set[str]:
    """Returns the treated units that are genes, or combinations of genes, and have a single guide."""
    is_gene = judged.wells["perturbation_kind"].to_numpy() == "gene"
    is_single = judged.is_treatment & is_gene & ~has_several_guides(judged)
    return set(np.array(judged.units)[is_single].tolist())


def _given_to(wells: Int[np.ndarray, "well"], group: Int[np.ndarray, "well"]) -> Int[np.ndarray, "well"]:
    """The labels after the first of `wells` gets the label of the first well, and so on."""
    given = np.empty_like(group)
    given[wells] = group
    return given
