"""Treatments: the wells of one guide, or of one compound at one dose, are replicates of each other; nothing is pooled.

Other benchmarks may pool the guides of a gene. The measures of this folder are defined on replicates of a treatment.
"""

from dataclasses import replace

import numpy as np

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.replicates import Replicates
from cellassets.statistics.correlation import OwnedPairs, Places, pairs_within


def by_treatment(judged: JudgedMap) -> JudgedMap:
    """Returns the map with treatments (guides, compounds at one dose) as units."""
    return replace(judged, units=tuple(judged.wells["perturbation_id"].to_list()))


class ReplicatePairs:
    """The pairs of wells of each unit. Units keep their numbers of wells in every draw, so pairs are listed once."""

    def __init__(self) -> None:
        """Lists no pairs yet: the first draw says how many wells each unit has."""
        self._pairs: OwnedPairs | None = None

    def of(self, units: Replicates) -> tuple[OwnedPairs, Places, Places]:
        """Returns the pairs of places, and the two wells of each pair in this draw."""
        if self._pairs is None:
            self._pairs = pairs_within(units.counts)
        wells = np.argsort(units.unit, kind="stable")
        return self._pairs, wells[self._pairs.first], wells[self._pairs.second]
