"""Maps of resampled wells, and maps of shuffled wells in which no perturbation has an effect of its own."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.mapping.aggregate import AGGREGATIONS, Aggregation
from cellassets.statistics.permutation import permuted_within


class ReplicateWells:
    """The wells of some perturbations, and the maps that can be made of them.

    Args:
        judged: the map and its wells.
        names: perturbations of the map, each with at least one well.
        aggregation: how the wells of a perturbation become one vector.

    Attributes:
        n_wells: number of wells of each perturbation.
    """

    def __init__(self, judged: JudgedMap, names: Sequence[str], aggregation: Aggregation) -> None:
        order = np.argsort(np.asarray(names))
        ordered, units = np.asarray(names)[order], np.asarray(judged.units)
        place = np.minimum(np.searchsorted(ordered, units), len(names) - 1)
        own = np.flatnonzero((ordered[place] == units) & judged.is_treatment)
        group = order[place[own]]
        self._wells = own[np.argsort(group, kind="stable")]
        self._group = np.sort(group)
        self._plate = judged.plate_index[self._wells]
        self._vectors, self._aggregate = judged.vectors, AGGREGATIONS[aggregation]
        self.n_wells = np.bincount(group, minlength=len(names))

    def all(self) -> Int[np.ndarray, "well"]:
        """Returns the wells, ordered by perturbation."""
        return self._wells

    def shuffled(self, rng: np.random.Generator) -> Int[np.ndarray, "well"]:
        """Returns the wells in another order: every perturbation gets random wells of the plates that it is on."""
        return self._wells[permuted_within(self._plate, rng)]

    def resampled(self, wells: Int[np.ndarray, "well"], rng: np.random.Generator) -> Int[np.ndarray, "well"]:
        """Returns wells in which every perturbation has as many as before, drawn from its own with replacement."""
        n_own = self.n_wells[self._group]
        first = (np.cumsum(self.n_wells) - self.n_wells)[self._group]
        return wells[first + np.floor(rng.random(len(n_own)) * n_own).astype(np.int64)]

    def map_of(self, wells: Int[np.ndarray, "well"]) -> Float[np.ndarray, "name feature"]:
        """Returns one vector per perturbation, in the order of the names."""
        return self._aggregate(self._vectors[wells], self._group, len(self.n_wells))
