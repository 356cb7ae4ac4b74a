"""Strata: groups of units that share their plates. Names are exchangeable within a stratum only.

The vector of a unit holds leftover effects of the plates (or batches) that its wells are on. Two units whose wells are
on the same plates hold the same effects, so either may carry the other's name. Units on other plates may not: a gene on
plates 0 and 1 and a gene on plates 0 and 2 share half of their plates, and related genes often share all of them.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped

from cellassets.benchmarks.definition import NameParameters
from cellassets.benchmarks.judged import JudgedMap
from cellassets.errors import NotApplicable

Counts = Int[np.ndarray, "unit plate"]

MIN_UNITS = 5  # two units of such a group have twenty pairs of places, so a p-value of 0.05 is possible
MIN_SHARED_FRAC = 0.8  # a unit that lost one of five wells still belongs to the others


def plate_strata(
    judged: JudgedMap, units: Sequence[str], parameters: NameParameters | None = None
) -> Int[np.ndarray, "unit"]:
    """Returns the stratum of each unit, by the plates (or batches) that its treated wells are on.

    Args:
        judged: the map and its wells.
        units: names among `judged.units`.
        parameters: whether plates or batches count; None for plates.
    """
    return strata_of(np.array(judged.units), exchange_groups(judged, parameters), judged.is_treatment, units)


def exchange_groups(judged: JudgedMap, parameters: NameParameters | None = None) -> Int[np.ndarray, "well"]:
    """Returns the number of the plate of each well, or of its batch where the parameters say so."""
    if parameters is None or parameters.exchange_within == "plates":
        return judged.plate_index
    return np.unique(judged.wells["batch_id"].to_numpy(), return_inverse=True)[1]


def strata_of(
    labels: Shaped[np.ndarray, "well"],
    plate: Int[np.ndarray, "well"],
    is_counted: Bool[np.ndarray, "well"],
    names: Sequence[str],
) -> Int[np.ndarray, "name"]:
    """Returns a number for each name; names with one number have equally many counted wells on every plate.

    Wells get lost, so a group of fewer than five names (or a single one) joins the larger group with which it shares
    most wells, if these are at least four fifths of the wells of either. A name that is still alone is not exchanged.

    Args:
        labels: the name of each well.
        plate: number of the plate of each well.
        is_counted: wells that count.
        names: names to look up, each once; each is the name of at least one well.
    """
    known, index = np.unique(labels[is_counted], return_inverse=True)
    counts = np.zeros((len(known), plate.max() + 1), dtype=np.int32)
    np.add.at(counts, (index, plate[is_counted]), 1)
    compositions, own, n_units = np.unique(
        counts[np.searchsorted(known, np.asarray(names, dtype=known.dtype))],
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    return _joined(compositions, n_units)[own.reshape(-1)]


def _joined(compositions: Counts, n_units: Int[np.ndarray, "unit"]) -> Int[np.ndarray, "unit"]:
    """The composition whose stratum each composition is in: its own, or for a small group the nearest one.

    Compositions of most units come first, and of equally many those of most wells.
    """
    n_wells = compositions.sum(axis=1)
    order = np.lexsort((-n_wells, -n_units))
    found = np.arange(len(compositions))
    leaders, n_leaders = np.empty((compositions.shape[1], len(compositions)), dtype=np.int32), 0
    leading = np.empty(len(compositions), dtype=np.int64)
    for own in order:
        if n_units[own] < MIN_UNITS and n_leaders:
            on = np.flatnonzero(compositions[own])
            shared = np.minimum(leaders[on, :n_leaders], compositions[own, on][:, None]).sum(axis=0)
            frac = shared / np.maximum(n_wells[leading[:n_leaders]], n_wells[own])
            nearest = int(frac.argmax())
            if frac[nearest] >= MIN_SHARED_FRAC:
                found[own] = leading[nearest]
                continue
        leaders[:, n_leaders], leading[n_leaders] = compositions[own], own
        n_leaders += 1
    return found


def check_exchange(benchmark_name: str, stratum: Int[np.ndarray, "unit"], *, what: str) -> None:
    """Raises where no two units may exchange their names, so that there is no null distribution.

    Args:
        benchmark_name: the benchmark that is computed, for the message.
        stratum: stratum of each unit.
        what: the units in words, such as `genes`.

    Raises:
        NotApplicable: every unit is alone in its stratum.
    """
    if len(stratum) >= 2 and len(np.unique(stratum)) == len(stratum):
        message = (
            f"{benchmark_name}: no two of {len(stratum)} {what} have their wells on the same plates, so none can "
            "exchange names with another in the null distribution; set exchange_within: batches if the layout within "
            "batches is random, or screen groups of them on the same plates"
        )
        raise NotApplicable(message)
