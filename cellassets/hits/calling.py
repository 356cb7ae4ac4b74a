"""The table of hits: every perturbation of a map, how far it is from its controls, and whether it is active.

Tables of a map in, a table without dataset and model out. `cellassets.stages.active_perturbations` publishes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, comb, prod
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from cellassets.benchmarks.definition import PermutationParameters
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.against_controls import ComparedWells, compared_wells
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.hits.activity import Tested, units_tested
from cellassets.hits.parameters import MEASURES, HitParameters
from cellassets.statistics.distance_interval import ControlSpread, distance_from_controls, magnitude_estimate
from cellassets.statistics.energy import pairwise_distances
from cellassets.statistics.permutation import benjamini_hochberg

Settings = Mapping[str, PermutationParameters]  # benchmark to its parameters
FEW_WELLS = "fewer than two wells on plates with held-out negative controls"
FEW_CONTROLS = "fewer than three held-out negative controls on its plates"
NOT_COMPARED = "the deciding benchmark cannot compare its wells"
LABELS = ("perturbation_id", "perturbation_kind", "gene_symbol", "guide_id", "compound_id", "concentration_um")


def call_hits(judged: JudgedMap, settings: Settings, parameters: HitParameters) -> pl.DataFrame:
    """Returns one row per perturbation of the map, in the order of the map, with the columns of HITS from LABELS on.

    A perturbation is active if the q-value of the deciding measure is at most `fdr`; q-values are corrected over all
    perturbations that the measure could test. The column `lowest_active_um` is not part of the result.

    Args:
        judged: the map.
        settings: parameters of the benchmarks of activity and magnitude, by name.
        parameters: of the hits.
    """
    called = {measure: _corrected(units_tested(judged, measure, settings[measure], parameters)) for measure in MEASURES}
    compared, reasons = _compared(judged, settings, parameters), _reasons(judged)
    rows = []
    for row in judged.map_table.filter(pl.col("control_kind").is_null()).select(*LABELS, "n_wells").to_dicts():
        name = row["perturbation_id"]
        activity, magnitude = (called[measure].get(name) for measure in MEASURES)
        decides = called[parameters.measure].get(name)
        found = {
            **_columns("activity", activity),
            **_columns("magnitude", magnitude),
            **compared.get(name, NOTHING),
            "is_active": decides is not None and decides.q_value <= parameters.fdr,
            "not_tested": reasons.get(name, NOT_COMPARED) if decides is None else None,
        }
        rows.append({**row, **found})
    return pl.DataFrame(rows, infer_schema_length=None)


def least_n_active(n_tested: int, parameters: HitParameters) -> int:
    """Returns the smallest number of hits that the number of permutations allows.

    Of m tests the smallest p-value must be at most k fdr / m for k hits, and it is at least 1 / (1 + permutations).

    Args:
        n_tested: perturbations that were tested.
        parameters: of the hits.
    """
    return max(1, ceil(n_tested / ((1 + parameters.n_permutations) * parameters.fdr) - 1e-9))


NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "n_controls",
        "least_p_value",
        "distance_sd",
        "distance_sd_low",
        "distance_sd_high",
        "magnitude_low",
        "magnitude_high",
    )
)


@dataclass(frozen=True)
class _Called:
    """A tested perturbation with its q-value."""

    tested: Tested
    q_value: float


def _corrected(tested: dict[str, Tested]) -> dict[str, _Called]:
    q_values = benjamini_hochberg(np.array([one.p_value for one in tested.values()]))
    return {name: _Called(one, q) for (name, one), q in zip(tested.items(), q_values.tolist(), strict=True)}


def _columns(prefix: str, called: _Called | None) -> dict[str, float | None]:
    names = (prefix, f"{prefix}_null_mean", f"{prefix}_p_value", f"{prefix}_q_value")
    if called is None:
        return dict.fromkeys(names)
    found = called.tested
    return dict(zip(names, (found.value, found.null_mean, found.p_value, called.q_value), strict=True))


def _compared(judged: JudgedMap, settings: Settings, parameters: HitParameters) -> dict[str, dict[str, Any]]:
    """Distances from the controls with their intervals, by perturbation, over the wells that the magnitude compares."""
    chosen = settings["perturbation_magnitude"]
    most = int(getattr(chosen, "max_controls_per_plate", 32))
    rng = np.random.default_rng(parameters.seed)
    try:
        compared = compared_wells("perturbation_magnitude", judged, max_controls_per_plate=most, rng=rng)
    except (BenchmarkError, NotApplicable):
        return {}
    spread = ControlSpread.of(compared.controls, compared.control_plate)
    units = _Units(compared, spread, 1 / (1 + parameters.n_permutations))
    return {name: units.row(number) for number, name in enumerate(compared.names)}


@dataclass(frozen=True)
class _Units:
    """The wells of all perturbations, and the controls that they are compared with."""

    compared: ComparedWells
    spread: ControlSpread
    least_p_value: float

    def row(self, number: int) -> dict[str, Any]:
        own = np.flatnonzero(self.compared.unit == number)
        wells, plate = self.compared.treated[own], self.compared.plate[own]
        controls = np.flatnonzero(np.isin(self.compared.control_plate, plate))
        distances = pairwise_distances(np.concatenate([wells, self.compared.controls[controls]]))
        magnitude = magnitude_estimate(distances, len(own))
        distance = distance_from_controls(wells, plate, self.spread)
        return {
            "n_controls": len(controls),
            "least_p_value": max(self.least_p_value, 1 / _n_assignments(plate, self.compared.control_plate[controls])),
            "distance_sd": None if distance is None else distance.value,
            "distance_sd_low": None if distance is None else distance.low,
            "distance_sd_high": None if distance is None else distance.high,
            "magnitude_low": magnitude.low,
            "magnitude_high": magnitude.high,
        }


def _n_assignments(plate: Int[np.ndarray, "well"], control_plate: Int[np.ndarray, "control"]) -> int:
    """In how many ways the labels of wells and controls can be permuted within plates."""
    own, others = np.bincount(plate).tolist(), np.bincount(control_plate, minlength=len(np.bincount(plate))).tolist()
    return prod(comb(n + m, n) for n, m in zip(own, others, strict=False))


def _reasons(judged: JudgedMap) -> dict[str, str]:
    """Why each perturbation that has too few wells or controls cannot be tested."""
    units, plates = np.array(judged.units), judged.plate_index
    n_controls = np.bincount(plates[judged.is_held_out_control], minlength=plates.max() + 1)
    rows = np.flatnonzero(judged.is_treatment & (n_controls[plates] > 0))
    reasons = {}
    for name in sorted(set(units[judged.is_treatment].tolist())):
        own = rows[units[rows] == name]
        if n_controls[np.unique(plates[own])].sum() < 3:
            reasons[name] = FEW_CONTROLS
        elif len(own) < 2:
            reasons[name] = FEW_WELLS
    return reasons
