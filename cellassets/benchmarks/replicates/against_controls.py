"""Treated wells and the negative controls that they are compared with, and how their labels are permuted.

Only held-out controls count, and only those of the plates that a perturbation is on: others are not exchangeable with
its wells. The statistics are computed in `magnitude` and `phenotypic_activity`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.replicates import check_replicates
from cellassets.errors import BenchmarkError


@dataclass(frozen=True)
class ComparedWells:
    """Treated wells, one unit after the other, and the controls that they can be compared with."""

    names: list[str]
    treated: Float[np.ndarray, "well feature"]
    unit: Int[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    controls: Float[np.ndarray, "control feature"]
    control_plate: Int[np.ndarray, "control"]
    control_names: list[str]

    def only(self, is_kept: Bool[np.ndarray, "unit"]) -> "ComparedWells":
        """Returns some of the units, with the same controls."""
        rows = is_kept[self.unit]
        names = [name for name, kept in zip(self.names, is_kept, strict=True) if kept]
        unit = np.unique(self.unit[rows], return_inverse=True)[1]
        return ComparedWells(
            names, self.treated[rows], unit, self.plate[rows], self.controls, self.control_plate, self.control_names
        )


def compared_wells(
    benchmark_name: str, judged: JudgedMap, *, max_controls_per_plate: int, rng: np.random.Generator
) -> ComparedWells:
    """Returns the perturbations with two wells on plates with three held-out negative controls, and those controls.

    Args:
        benchmark_name: the benchmark that is computed, for the message.
        judged: the map and its wells.
        max_controls_per_plate: where a plate has more, some are drawn.
        rng: source of the draws.

    Raises:
        NotApplicable: no perturbation has two wells.
        BenchmarkError: no perturbation with two wells is on plates with enough such controls.
    """
    check_replicates(judged)
    units = np.array(judged.units)
    held_out = np.flatnonzero(judged.is_held_out_control)
    controls = held_out[at_most(judged.plate_index[held_out], max_controls_per_plate, rng)]
    n_controls = np.bincount(judged.plate_index[controls], minlength=judged.plate_index.max() + 1)
    rows = np.flatnonzero(judged.is_treatment & (n_controls[judged.plate_index] > 0))
    names, unit = np.unique(units[rows], return_inverse=True)
    on_plate = np.unique(np.stack([unit, judged.plate_index[rows]]), axis=1)
    n_compared = np.bincount(on_plate[0], weights=n_controls[on_plate[1]], minlength=len(names))
    is_kept = (np.bincount(unit, minlength=len(names)) >= 2) & (n_compared >= 3)
    if not is_kept.any():
        message = (
            f"{benchmark_name}: of {len(np.unique(units[judged.is_treatment]))} perturbations none has two wells "
            f"on plates with three held-out negative controls ({len(held_out)} such controls in "
            "all); raise held_out_controls_frac in mapping.yaml, or add control wells"
        )
        raise BenchmarkError(message)
    rows, unit = rows[is_kept[unit]], unit[is_kept[unit]]
    rows = rows[np.argsort(unit, kind="stable")]
    return ComparedWells(
        names=names[is_kept].tolist(),
        treated=judged.vectors[rows].astype(np.float64),
        unit=np.unique(units[rows], return_inverse=True)[1],
        plate=judged.plate_index[rows],
        controls=judged.vectors[controls].astype(np.float64),
        control_plate=judged.plate_index[controls],
        control_names=well_names(judged.wells[controls]),
    )


def well_names(wells: pl.DataFrame) -> list[str]:
    """Returns experiment/plate/well of each row."""
    return wells.select(pl.concat_str("experiment_id", "plate_id", "well_id", separator="/")).to_series().to_list()


def turns_on_plate(plate: Int[np.ndarray, "well"], rng: np.random.Generator) -> Int[np.ndarray, "well"]:
    """Returns each well's place, from 0, in a random order of the wells of its plate."""
    order = np.lexsort((rng.random(len(plate)), plate))
    turns = np.empty(len(plate), dtype=np.int64)
    turns[order] = np.arange(len(plate)) - np.searchsorted(plate[order], plate[order], side="left")
    return turns


def at_most(plate: Int[np.ndarray, "well"], n_most: int, rng: np.random.Generator) -> Int[np.ndarray, "kept"]:
    """Returns the places of at most `n_most` wells per plate, drawn at random."""
    return np.flatnonzero(turns_on_plate(plate, rng) < n_most)


def chosen_within(
    plates: Int[np.ndarray, "well"], n_own: int, n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw own"]:
    """Returns random wells: from each plate as many as the first `n_own` wells have there.

    Wells are sorted by the number of their plate.
    """
    chosen = []
    for plate, n_chosen in zip(*np.unique(plates[:n_own], return_counts=True), strict=True):
        candidates = np.flatnonzero(plates == plate)
        keys = rng.random((n_draws, len(candidates)))
        chosen.append(candidates[np.argpartition(keys, n_chosen - 1, axis=1)[:, :n_chosen]])
    return np.concatenate(chosen, axis=1)


def joint_part(
    compared: ComparedWells, max_wells: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "treated"], Int[np.ndarray, "control"]]:
    """Returns the treated wells and controls whose labels are permuted together; perturbations are kept whole.

    Args:
        compared: all of them.
        max_wells: largest number of treated wells, and of controls; where there are more, some are drawn.
        rng: source of the draws.
    """
    order = rng.permutation(len(compared.names))
    sizes = np.cumsum(np.bincount(compared.unit)[order])
    kept_units = order[: max(1, int((sizes <= max_wells).sum()))]
    treated = np.flatnonzero(np.isin(compared.unit, kept_units))
    n_plates = len(np.unique(compared.plate[treated]))
    on_plates = np.flatnonzero(np.isin(compared.control_plate, compared.plate[treated]))
    return treated, on_plates[at_most(compared.control_plate[on_plates], max(3, max_wells // n_plates), rng)]
