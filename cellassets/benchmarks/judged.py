"""The input of a benchmark: one map, its wells and the annotations."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import unit_labels
from cellassets.mapping.build import MapParameters, map_held_out_controls
from cellassets.mapping.controls import is_treatment
from cellassets.tables.parquet import vectors


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
        other_maps: the same model's PERTURBATION_MAP rows by dataset, where the benchmark uses them.
    """

    wells: pl.DataFrame
    vectors: Float[np.ndarray, "well feature"]
    units: tuple[str, ...]
    is_treatment: Bool[np.ndarray, "well"]
    is_held_out_control: Bool[np.ndarray, "well"]
    plate_index: Int[np.ndarray, "well"]
    map_table: pl.DataFrame
    annotations: Annotations = field(default_factory=Annotations)
    other_maps: dict[str, pl.DataFrame] = field(default_factory=dict)


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
        annotations=annotations or Annotations(),
        other_maps=other_maps or {},
    )
