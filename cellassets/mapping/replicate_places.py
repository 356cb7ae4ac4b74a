"""How far replicates are from each other on their plates, compared with the layout's own treated wells.

Neighbouring wells are alike because of their place: evaporation, temperature and cell density vary smoothly over a
plate. If the replicates of a perturbation are neighbours, or at nearly the same place of all plates, they are alike
without doing anything. Permutations of wells within plates do not reproduce this, so p-values of replicates are then
too small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Int

from cellassets.mapping.controls import is_treatment
from cellassets.mapping.places import WellPlaces, well_places

Kind = Literal["same_plate", "other_plate"]
Pairs = Int[np.ndarray, "2 pair"]

KINDS: tuple[Kind, ...] = ("same_plate", "other_plate")
N_PERMUTATIONS = 199


@dataclass(frozen=True)
class ReplicateDistance:
    """The mean distance between replicates.

    Attributes:
        frac: as a share of the mean distance after the treated wells of every plate changed places; 1 in a random
            layout.
        p_value: share of such layouts with a mean distance at most as large.
    """

    frac: float
    p_value: float


def replicate_distances(wells: pl.DataFrame, units: Sequence[str], *, seed: int) -> dict[Kind, ReplicateDistance]:
    """Returns the distance between replicates on one plate, and between places of replicates on different plates.

    Replicates are wells of one perturbation, or of one unit of the map (a gene with its guides): whichever are nearer
    to each other. A kind without replicates is left out.

    Args:
        wells: WELL_EMBEDDINGS rows; controls do not count.
        units: unit of each well.
        seed: of the pairs and permutations. Every well is paired with one other well.
    """
    treated = wells.filter(is_treatment(wells))
    if treated.is_empty():
        return {}
    places = well_places(treated)
    rng = np.random.default_rng(seed)
    names = (treated["perturbation_id"].to_numpy(), np.array(units)[is_treatment(wells)])
    labels = [np.unique(name.astype(str), return_inverse=True)[1] for name in names]
    chosen = [
        (kind, pairs) for label in labels for kind in KINDS if (pairs := _pairs(label, places, kind, rng)).shape[1]
    ]
    layouts = np.array([[_distance(places, pairs, at) for _, pairs in chosen] for at in _layouts(places, rng)])
    found: dict[Kind, ReplicateDistance] = {}
    for column, (kind, _) in enumerate(chosen):
        observed, others = layouts[0, column], layouts[1:, column]
        p_value = (1 + int((others <= observed).sum())) / (1 + len(others))
        mean = float(others.mean())
        distance = ReplicateDistance(float(observed) / mean if mean > 0 else 1.0, p_value)
        if kind not in found or distance.frac < found[kind].frac:
            found[kind] = distance
    return found


def _pairs(label: Int[np.ndarray, "well"], places: WellPlaces, kind: Kind, rng: np.random.Generator) -> Pairs:
    """Each well and the next one of its label (and plate) in a random order; the first follows the last."""
    plate = places.plate_index
    group = label if kind == "other_plate" else label * (plate.max() + 1) + plate
    order = np.lexsort((rng.random(len(group)), group))
    is_first = np.diff(group[order], prepend=-1) != 0
    starts = np.flatnonzero(is_first)
    following = np.append(order[1:], order[0])
    following[np.append(starts[1:], len(order)) - 1] = order[starts]
    is_pair = following != order if kind == "same_plate" else plate[order] != plate[following]
    return np.stack([order, following])[:, is_pair]


def _layouts(places: WellPlaces, rng: np.random.Generator) -> Iterator[Int[np.ndarray, "well"]]:
    """The well at whose place each well is: as observed, and after wells of a plate changed places."""
    plate = places.plate_index
    by_plate = np.argsort(plate, kind="stable")
    yield np.arange(len(plate))
    for _ in range(N_PERMUTATIONS):
        at = np.empty(len(plate), dtype=np.int64)
        at[by_plate] = np.lexsort((rng.random(len(plate)), plate))
        yield at


def _distance(places: WellPlaces, pairs: Pairs, at: Int[np.ndarray, "well"]) -> float:
    """The mean distance of the pairs, in wells."""
    row, column = (values[at[pairs[0]]] - values[at[pairs[1]]] for values in (places.row, places.column))
    return float(np.hypot(row, column).mean())
