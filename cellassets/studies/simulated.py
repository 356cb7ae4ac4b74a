"""Simulated screens as input of benchmarks: wells go through the real alignment and aggregation.

Tests and the calibration study use them.
"""

from collections.abc import Collection

import polars as pl

from cellassets.benchmarks.judged import JudgedMap, judged_map
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.synthetic.embeddings import Known, SimulatedWells, another_cell_type, simulate_wells
from cellassets.tables.parquet import with_vectors

STEPS = ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}, {"kind": "tvn"})
SIMULATED_MAP = MapParameters.model_validate({"steps": STEPS, "n_judged_wells": 10})


def simulate_map(
    design: SimulatedWells, *, parameters: MapParameters = SIMULATED_MAP, n_other_maps: int = 0
) -> JudgedMap:
    """Returns a simulated screen, aligned and aggregated, with the planted effects as its annotations.

    Args:
        design: the simulated screen.
        parameters: alignment and aggregation.
        n_other_maps: number of maps of the same biology in other cell types.
    """
    wells, known = simulate_wells(design)
    others, other = {}, design
    for _ in range(n_other_maps):
        other = another_cell_type(other)
        others[other.cell_type] = map_wells(simulate_wells(other)[0], parameters)[1]
    aligned, map_table = map_wells(wells, parameters)
    return judged_map(aligned, map_table, parameters=parameters, annotations=annotations_of(known), other_maps=others)


def map_wells(wells: pl.DataFrame, parameters: MapParameters = SIMULATED_MAP) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns aligned WELL_EMBEDDINGS and their PERTURBATION_MAP."""
    aligned, _ = align_wells(wells, map_held_out_controls(wells, parameters), parameters)
    units, unit_vectors = aggregate_wells(
        wells, aligned, aggregate_by=parameters.aggregate_by, method=parameters.aggregation
    )
    labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit("simulated.v1").alias("model_key"))
    return with_vectors(wells, aligned), with_vectors(labels, unit_vectors)


def annotations_of(known: Known, kinds: Collection[str] = ("pairs", "sets", "targets", "gene_arms")) -> Annotations:
    """Returns the planted effects as one annotation source per kind; none for a kind without planted effects."""
    planted = {kind: getattr(known, kind) for kind in kinds}
    return Annotations(**{kind: {"planted": rows} for kind, rows in planted.items() if rows.height})
