"""Which perturbations share their plates: names are exchangeable among those, and not beyond."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from cellassets.benchmarks.judged import JudgedMap


def plate_strata(judged: JudgedMap, units: Sequence[str]) -> Int[np.ndarray, "unit"]:
    """Returns the plate that most wells of each unit are on, the first where several are.

    Units of one library plate have one stratum, units that are on all plates another. A well that the quality filter
    dropped moves its unit to another stratum at most, where whole compositions would leave the unit alone in its own.

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
    """Returns the plate that most counted wells of each name are on, the first where several are.

    Args:
        labels: what each well counts as.
        plate: number of the plate of each well.
        is_counted: wells that count.
        names: labels to look up, each of which some well has.
    """
    known, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(known), plate.max() + 1), dtype=np.int64)
    np.add.at(counts, (index, plate), is_counted)
    return counts.argmax(axis=1)[np.searchsorted(known, np.asarray(names, dtype=known.dtype))]
