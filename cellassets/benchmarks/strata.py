"""Strata: groups of perturbations that share their plates. Names are exchangeable within a stratum only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from cellassets.benchmarks.judged import JudgedMap


def plate_strata(judged: JudgedMap, units: Sequence[str]) -> Int[np.ndarray, "unit"]:
    """Returns for each unit the plate with the largest number of its wells; of several such plates the first.

    Units of one library plate get one stratum; units that are on all plates get another. A well that the quality filter
    removes changes at most the stratum of its own unit. (Strata of units with exactly the same plates would leave that
    unit alone in a stratum of its own.)

    Args:
        judged: the map and its wells.
        units: names among `judged.units`.
    """
    return main_plates(np.array(judged.units), judged.plate_index, judged.is_treatment, units)


def main_plates(
    labels: Shaped[np.ndarray, "well"],
    plate: Int[np.ndarray, "well"],
    is_counted: Bool[np.ndarray, "well"],
    names: Sequence[str],
) -> Int[np.ndarray, "name"]:
    """Returns the plate that most counted wells of each name are on; of several such plates the first.

    Args:
        labels: the name of each well.
        plate: number of the plate of each well.
        is_counted: wells that count.
        names: names to look up; each is the name of at least one well.
    """
    known, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(known), plate.max() + 1), dtype=np.int64)
    np.add.at(counts, (index, plate), is_counted)
    return counts.argmax(axis=1)[np.searchsorted(known, np.asarray(names, dtype=known.dtype))]
