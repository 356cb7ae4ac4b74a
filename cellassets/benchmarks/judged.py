"""The input of a benchmark: one map, its wells and the annotations."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import aggregate_wells, unit_labels
from cellassets.mapping.build import MapParameters, map_held_out_controls
from cellassets.mapping.controls import is_treatment
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import PERTURBATION_MAP


@dataclass(frozen=True)
class JudgedMap:
    """Everything that a benchmark may read: one map, its wells, and known biology.

    Attributes:
        wells: WELL_EMBEDDINGS rows after alignment, controls included.
        vectors: the vectors of the wells.
        units: name that the replicates of each well share (its gene, or its perturbation).
        is_treatment: wells that are not controls.
        is_held_out_control: negative controls that alignment was not fitted on; only these are exchangeable with
            treatments.
        plate_index: number of the plate of each well; labels are exchangeable within a plate.
        map_table: PERTURBATION_MAP rows.
        annotations: the annotation sources of the dataset, of the kinds that the benchmark uses.
        parameters: those of the map.
        other_maps: the same model's PERTURBATION_MAP rows by dataset, where the benchmark uses them.
    """

    wells: pl.DataFrame
    vectors: Float[np.ndarray, "well feature"]
    units: tuple[str, ...]
    is_treatment: Bool[np.ndarray, "well"]
    is_held_out_control: Bool[np.ndarray, "well"]
    plate_index: Int[np.ndarray, "well"]
    map_table: pl.DataFrame
    parameters: MapParameters = field(default_factory=MapParameters)
    annotations: Annotations = field(default_factory=Annotations)
    other_maps: dict[str, pl.DataFrame] = field(default_factory=dict)

    def with_wells(self, rows: Int[np.ndarray, "row"]) -> "JudgedMap":
        """Returns the map with these wells, in this order; the perturbations of the map do not change."""
        return replace(
            self,
            wells=self.wells[rows],
            vectors=self.vectors[rows],
            units=tuple(self.units[row] for row in rows),
            is_treatment=self.is_treatment[rows],
            is_held_out_control=self.is_held_out_control[rows],
            plate_index=self.plate_index[rows],
        )


def judged_map(
    wells: pl.DataFrame,
    map_table: pl.DataFrame,
    *,
    parameters: MapParameters,
    annotations: Annotations | None = None,
    other_maps: dict[str, pl.DataFrame] | None = None,
) -> JudgedMap:
    """Returns the input of benchmarks.

    Args:
        wells: aligned WELL_EMBEDDINGS rows.
        map_table: PERTURBATION_MAP rows.
        parameters: the parameters of the map; they determine which controls were held out.
        annotations: known biology.
        other_maps: the same model's PERTURBATION_MAP rows by dataset.
    """
    plates = wells.select(pl.concat_str("experiment_id", "plate_id", separator="/")).to_series().to_numpy()
    return JudgedMap(
        wells=wells,
        vectors=vectors(wells),
        units=tuple(unit_labels(wells, parameters.aggregate_by)),
        is_treatment=is_treatment(wells),
        is_held_out_control=map_held_out_controls(wells, parameters),
        plate_index=np.unique(plates, return_inverse=True)[1],
        map_table=map_table,
        parameters=parameters,
        annotations=annotations or Annotations(),
        other_maps=other_maps or {},
    )


def restricted(
    judged: JudgedMap, experiments: Collection[str], *, other_maps: dict[str, pl.DataFrame] | None = None
) -> JudgedMap:
    """Returns the map of some experiments only: their wells, aligned as before, and perturbations made from these.

    The alignment is that of the whole map. It sees no labels of perturbations.

    Args:
        judged: the map of all experiments.
        experiments: names of experiments of the map.
        other_maps: the same model's PERTURBATION_MAP rows by dataset.
    """
    is_kept = judged.wells["experiment_id"].is_in(list(experiments)).to_numpy()
    if is_kept.all():
        return replace(judged, other_maps=other_maps or {})
    part = judged.with_wells(np.flatnonzero(is_kept))
    return replace(
        part,
        plate_index=np.unique(part.plate_index, return_inverse=True)[1],
        map_table=restricted_map(judged, experiments),
        other_maps=other_maps or {},
    )


def restricted_map(judged: JudgedMap, experiments: Collection[str]) -> pl.DataFrame:
    """Returns the PERTURBATION_MAP rows that are made from the wells of some experiments only.

    Args:
        judged: the map of all experiments.
        experiments: names of experiments of the map.
    """
    wells = judged.wells.filter(pl.col("experiment_id").is_in(list(experiments)))
    if wells.is_empty():
        return judged.map_table.clear()
    units, values = aggregate_wells(
        wells,
        vectors(wells).astype(np.float64),
        aggregate_by=judged.parameters.aggregate_by,
        method=judged.parameters.aggregation,
    )
    labels = [pl.lit(judged.map_table[name][0]).alias(name) for name in ("dataset_id", "model_key")]
    return PERTURBATION_MAP.conform(with_vectors(units.with_columns(*labels), values), source="part of a map")
