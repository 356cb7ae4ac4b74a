"""Lowest active doses: the step down stops at the first dose that does not reject, and finds planted doses."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.judged import judged_map
from cellassets.hits.doses import lowest_active_doses, lowest_rejected
from cellassets.hits.parameters import HitParameters
from cellassets.studies.simulated import SIMULATED_MAP, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

DESIGN = SimulatedWells(
    n_complexes=0,
    n_lone_genes=3,
    gene_effect=0.0,
    n_compounds=4,
    n_doses=4,
    compound_effect=0.0,
    n_controls_per_plate=16,
)
PARAMETERS = HitParameters(n_dose_permutations=199)


def planted(first_active, *, effect=5.0, design=DESIGN):
    """A map in which each compound acts from one of its doses on (None: it does not act), and the doses."""
    wells, _ = simulate_wells(design)
    values, rng = vectors(wells).astype(float), np.random.default_rng(7)
    doses = wells["concentration_um"].drop_nulls().unique().sort().to_list()
    for name, first in first_active.items():
        direction = rng.standard_normal(values.shape[1])
        acts = pl.col("concentration_um") >= (doses[first] if first is not None else np.inf)
        own = wells.select((pl.col("compound_id") == name) & acts).to_series().fill_null(value=False).to_numpy()
        values[own] += effect * direction / np.linalg.norm(direction)
    aligned, map_table = map_wells(with_vectors(wells, values))
    return judged_map(aligned, map_table, parameters=SIMULATED_MAP), doses


@pytest.mark.parametrize(
    ("p_values", "lowest"), [([0.9, 0.01, 0.01], 1), ([0.01, 0.9, 0.01], 2), ([0.01, 0.01, 0.01], 0)]
)
def test_the_step_down_stops_at_the_first_dose_that_is_not_rejected(p_values, lowest):
    assert lowest_rejected(2, 0.05, p_values.__getitem__) == lowest


def test_planted_lowest_active_doses_are_found():
    judged, doses = planted({"CMPD000": 0, "CMPD001": 2, "CMPD002": 3, "CMPD003": None})
    found = lowest_active_doses(judged, PARAMETERS)
    assert found["compound_id"].to_list() == ["CMPD000", "CMPD001", "CMPD002", "CMPD003"]
    assert found["lowest_active_um"].to_list() == [doses[0], doses[2], doses[3], None]
    row = found.row(0, named=True)
    assert (row["n_doses"], row["n_wells"], row["n_controls"]) == (4, 24, 48)
    assert (row["lowest_um"], row["highest_um"]) == (doses[0], doses[3])


def test_a_compound_that_acts_at_a_middle_dose_only_is_not_called_active_below_it():
    judged, doses = planted({"CMPD000": 1}, effect=8.0)
    quiet = (judged.wells["concentration_um"] == doses[3]) & (judged.wells["compound_id"] == "CMPD000")
    controls = np.flatnonzero(judged.is_held_out_control)[: quiet.sum()]
    values = judged.vectors.copy()
    values[quiet.fill_null(value=False).to_numpy()] = judged.vectors[controls]
    found = lowest_active_doses(replace(judged, vectors=values), PARAMETERS).filter(pl.col("compound_id") == "CMPD000")
    assert found["lowest_active_um"].to_list()[0] >= doses[1]


def test_a_map_without_doses_has_no_rows():
    judged, _ = planted({}, design=DESIGN.model_copy(update={"n_compounds": 0}))
    assert lowest_active_doses(judged, PARAMETERS).is_empty()


def test_without_held_out_controls_no_compound_is_tested(judged):
    bare = replace(judged, is_held_out_control=np.zeros(len(judged.units), dtype=bool))
    assert lowest_active_doses(bare, PARAMETERS).is_empty()
