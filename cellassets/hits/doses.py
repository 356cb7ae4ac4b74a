"""The lowest active dose of every compound.

Hypothesis j of a compound: no dose up to the j-th acts. Its rejection says that some dose up to the j-th acts, without
any assumption; that the j-th dose itself acts follows where the effect does not fall with the dose. Compounds are
selected by their highest dose's hypothesis at the false discovery rate; the lower ones are tested at the level that the
selection leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.against_controls import at_most
from cellassets.hits.parameters import HitParameters
from cellassets.statistics.dose_steps import MIN_CONTROLS, dose_step_p_value
from cellassets.statistics.energy import Distances, pairwise_distances
from cellassets.statistics.permutation import benjamini_hochberg

Test = Callable[[int], float]  # place of a dose to the p-value of its hypothesis


@dataclass(frozen=True)
class _Compound:
    """Wells of one compound at known doses, and the held-out controls of their plates.

    `dose` is the rank of each well's dose; -1 for a control.
    """

    name: str
    doses_um: list[float]
    dose: Int[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    distances: Distances

    def p_value(self, step: int, n_permutations: int, rng: np.random.Generator) -> float:
        """Returns the p-value of the hypothesis that no dose up to the one at this place acts."""
        is_own = (self.dose >= 0) & (self.dose <= step)
        kept = np.flatnonzero(is_own | ((self.dose < 0) & np.isin(self.plate, self.plate[is_own])))
        distances = self.distances[np.ix_(kept, kept)]
        return dose_step_p_value(distances, self.dose[kept], self.plate[kept], n_permutations, rng)


def lowest_active_doses(
    judged: JudgedMap, parameters: HitParameters, *, max_controls_per_plate: int = 32
) -> pl.DataFrame:
    """Returns one row per compound with two doses or more, sorted by name; empty where there is none.

    Args:
        judged: the map.
        parameters: of the hits.
        max_controls_per_plate: where a plate has more held-out controls, some are drawn.

    Source: Benjamini and Bogomolov (2014), J. R. Stat. Soc. B 76:297, for the level within selected compounds; the step
    down over doses is that of `cellassets.statistics.dose_steps`.
    """
    rng = np.random.default_rng((parameters.seed, 2))
    compounds = _compounds(judged, max_controls_per_plate, rng)
    if not compounds:
        return pl.DataFrame()
    n_permutations = parameters.n_dose_permutations
    p_values = np.array([one.p_value(len(one.doses_um) - 1, n_permutations, rng) for one in compounds])
    q_values = benjamini_hochberg(p_values)
    level = parameters.fdr * float((q_values <= parameters.fdr).mean())
    rows = []
    for one, p_value, q_value in zip(compounds, p_values.tolist(), q_values.tolist(), strict=True):
        lowest = None
        if q_value <= parameters.fdr:
            top = len(one.doses_um) - 1
            lowest = lowest_rejected(top, level, partial(one.p_value, n_permutations=n_permutations, rng=rng))
        rows.append(_row(one, p_value, q_value, lowest))
    return pl.DataFrame(rows, infer_schema_length=None)


def lowest_rejected(top: int, level: float, p_value: Test) -> int:
    """Returns the lowest step that is reached by rejections from `top` down; `top` itself was rejected.

    Args:
        top: the highest step.
        level: a hypothesis is rejected if its p-value is at most this.
        p_value: returns the p-value of a step's hypothesis.
    """
    lowest = top
    while lowest > 0 and p_value(lowest - 1) <= level:
        lowest -= 1
    return lowest


def _row(one: _Compound, p_value: float, q_value: float, lowest: int | None) -> dict[str, Any]:
    return {
        "compound_id": one.name,
        "n_doses": len(one.doses_um),
        "lowest_um": one.doses_um[0],
        "highest_um": one.doses_um[-1],
        "n_wells": int((one.dose >= 0).sum()),
        "n_controls": int((one.dose < 0).sum()),
        "p_value": p_value,
        "q_value": q_value,
        "lowest_active_um": None if lowest is None else one.doses_um[lowest],
    }


def _compounds(judged: JudgedMap, max_controls_per_plate: int, rng: np.random.Generator) -> list[_Compound]:
    """Compounds with two doses, on plates with three held-out controls; single compounds, not combinations."""
    held_out = np.flatnonzero(judged.is_held_out_control)
    controls = held_out[at_most(judged.plate_index[held_out], max_controls_per_plate, rng)]
    with_controls = np.isin(judged.plate_index, judged.plate_index[controls])
    table = judged.wells.select("compound_id", "concentration_um", "perturbation_kind").with_row_index("row")
    is_dosed = (pl.col("perturbation_kind") == "compound") & pl.col("compound_id").is_not_null()
    wells = table.filter(pl.Series(judged.is_treatment & with_controls), is_dosed, pl.col("concentration_um") > 0)
    found = []
    for (name,), own in wells.sort("compound_id", "row").group_by("compound_id", maintain_order=True):
        compound = _compound(judged, str(name), own, controls)
        if len(compound.doses_um) >= 2 and (compound.dose < 0).sum() >= MIN_CONTROLS:
            found.append(compound)
    return found


def _compound(judged: JudgedMap, name: str, own: pl.DataFrame, controls: Int[np.ndarray, "control"]) -> _Compound:
    rows, concentration = own["row"].to_numpy().astype(np.int64), own["concentration_um"].to_numpy()
    doses, dose = np.unique(concentration, return_inverse=True)
    beside = controls[np.isin(judged.plate_index[controls], judged.plate_index[rows])]
    chosen = np.concatenate([rows, beside])
    values: Float[np.ndarray, "well feature"] = judged.vectors[chosen].astype(np.float64)
    return _Compound(
        name,
        doses.tolist(),
        np.concatenate([dose, np.full(len(beside), -1)]),
        judged.plate_index[chosen],
        pairwise_distances(values),
    )
