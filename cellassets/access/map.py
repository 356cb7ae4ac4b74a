"""A published map, opened from a lake for questions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellassets.exploring import ExploredMap
from cellassets.knowledge.annotations import Annotations, read_annotations
from cellassets.mapping.build import MapParameters
from cellassets.stages.datasets import dataset_named
from cellassets.tables.parquet import read_table, read_vectors, with_vectors
from cellassets.tables.schemas import (
    CLUSTERS,
    HITS,
    LOWEST_ACTIVE_DOSES,
    MAP_POINTS,
    PERTURBATION_MAP,
    WELL_EMBEDDINGS,
)

if TYPE_CHECKING:
    import polars as pl
    from anndata import AnnData

    from cellassets.stages.snapshot import Snapshot
    from cellassets.storage.artifact import Record
    from cellassets.storage.lake import Lake
    from cellassets.tables.schema import TableSchema

KINDS = ("pairs", "sets", "targets", "gene_arms")


@dataclass(frozen=True)
class OpenMap(ExploredMap):
    """A published map, and the questions that it answers (see `ExploredMap`).

    Attributes:
        record: its commit record: what it was made from, and its summary.
    """

    record: "Record | None" = None

    @property
    def dataset_id(self) -> str:
        """The dataset."""
        return str(self.table["dataset_id"][0])

    @property
    def model_key(self) -> str:
        """The model."""
        return str(self.table["model_key"][0])

    def anndata(self, *, of_wells: bool = False) -> "AnnData":
        """Returns the map as AnnData: one row per perturbation, or per aligned well.

        Args:
            of_wells: one row per well, before aggregation.

        Raises:
            PackageMissing: anndata is not installed.
        """
        from cellassets.exporting.vectors import as_anndata

        source = {"dataset_id": self.dataset_id, "model_key": self.model_key}
        if of_wells:
            return as_anndata(with_vectors(*self.wells), name_columns=("experiment_id", "plate_id", "well_id"),
                              source=source)  # fmt: skip
        return as_anndata(self.table, name_columns=("perturbation_id",), source=source)


def open_map(snapshot: "Snapshot", dataset_id: str, model_key: str) -> OpenMap:
    """Returns a published map with the hits, clusters and layout that are published for it.

    Raises:
        ArtifactMissing: no such map is published.
        AnnotationError: an annotation source cannot be read.
    """
    lake = snapshot.deployment.lake
    published = lake.current("perturbation_map", dataset_id, model_key)
    named = dataset_named(snapshot, dataset_id).annotation_sources
    is_there = lake.annotations.is_dir()
    keys = (dataset_id, model_key)
    return OpenMap(
        table=read_table(published.file("map.parquet"), PERTURBATION_MAP),
        read_wells=lambda: read_vectors(published.file("wells.parquet"), WELL_EMBEDDINGS),
        aggregate_by=MapParameters.model_validate(published.record.inputs["parameters"]).aggregate_by,
        hits=_table(lake, "active_perturbations", keys, "hits.parquet", HITS),
        lowest_active_doses=_table(
            lake, "active_perturbations", keys, "lowest_active_doses.parquet", LOWEST_ACTIVE_DOSES
        ),
        clusters=_table(lake, "map_clusters", keys, "clusters.parquet", CLUSTERS),
        points=_table(lake, "map_clusters", keys, "points.parquet", MAP_POINTS),
        annotations=read_annotations(lake.annotations, KINDS, named) if is_there else Annotations(),
        record=published.record,
    )


def _table(lake: "Lake", kind: str, keys: tuple[str, str], name: str, schema: "TableSchema") -> "pl.DataFrame":
    """A table that is published beside a map; without rows where it is not there (yet, or not by this version)."""
    artifact = lake.artifact(kind, *keys)
    record = artifact.find_record()
    if record is None or name not in {entry.name for entry in record.files}:
        return schema.empty()
    return read_table(artifact.file(name, record), schema)
