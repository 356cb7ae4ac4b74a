"""The stage `map_clusters`: clusters of a map, their stability and enriched sets, and the map in the plane.

Publishes `clusters.parquet`, `enrichment.parquet` and `points.parquet`. If a map cannot be clustered, the tables are
empty and the record gives the reason. The computation is in `cellassets.clustering`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellassets.clustering.summary import MapClustersSummary
from cellassets.stages.datasets import dataset_named
from cellassets.stages.judged_maps import fingerprints_of, open_map, planned_annotations
from cellassets.stages.settings import cluster_parameters
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.storage.artifact import Record
from cellassets.storage.lake import Lake
from cellassets.storage.plan import Plan, Publication

if TYPE_CHECKING:
    from cellassets.reporting.cluster_section import ClusterTables

CODE_VERSION = "2"
USES = ("sets", "targets", "gene_arms")  # kinds of annotations


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of the clusters from the present inputs.

    Raises:
        NotReady: there is no map of this dataset by this model.
        AnnotationError: the dataset names an annotation source that does not exist.
        ConfigError: `clusters.yaml` is wrong.
    """
    dataset_id, model_key = keys["dataset"], keys["model"]
    own, parameters = snapshot.need("perturbation_map", dataset_id, model_key), cluster_parameters(snapshot)
    sources = dataset_named(snapshot, dataset_id).annotation_sources
    inputs = {
        "dataset_id": dataset_id,
        "model_key": model_key,
        "perturbation_map": own.fingerprint,
        "annotations": snapshot.value(_annotations, sources),
        "parameters": settings_of(parameters),
        "code_version": CODE_VERSION,
    }
    settings = {"parameters": parameters, "annotation_sources": sources}
    return snapshot.plan("map_clusters", (dataset_id, model_key), inputs, pins=[own], settings=settings)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the clusters.

    Raises:
        BenchmarkError: a vector of the map is not finite.
        AnnotationError: an annotation source cannot be read.
        StaleArtifact: an annotation source changed since the plan was made.
    """
    from cellassets.clustering.map_clusters import cluster_map
    from cellassets.tables.parquet import write_tables
    from cellassets.tables.schemas import CLUSTERS, ENRICHMENT, MAP_POINTS

    annotations = planned_annotations(context, plan, USES)
    judged = open_map(context, plan.pin("perturbation_map", *plan.keys), annotations)
    parameters, aggregation = plan.settings["parameters"], judged.parameters.aggregation
    found = cluster_map(judged, parameters, aggregation=aggregation, progress=context.progress)
    tables = {
        "clusters.parquet": (found.clusters, CLUSTERS),
        "enrichment.parquet": (found.enrichment, ENRICHMENT),
        "points.parquet": (found.points, MAP_POINTS),
    }
    with context.lake.draft(plan) as draft:
        return draft.publish(write_tables(tables, draft.folder), found.summary)


def read_clusters(lake: Lake, published: Sequence[Publication]) -> "ClusterTables | None":
    """Returns the tables and the summary of the first publication of clusters; None where there is none."""
    from cellassets.reporting.cluster_section import ClusterTables
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import CLUSTERS, ENRICHMENT

    for pin in published:
        found = lake.open(pin)
        return ClusterTables(
            read_table(found.file("clusters.parquet"), CLUSTERS),
            read_table(found.file("enrichment.parquet"), ENRICHMENT),
            pin.summary(MapClustersSummary),
        )
    return None


def _annotations(snapshot: Snapshot, sources: tuple[str, ...] | None) -> dict[str, list[int]]:
    return fingerprints_of(snapshot.annotations(), USES, sources)


MAP_CLUSTERS = Stage(
    name="map_clusters",
    axes=("dataset", "model"),
    summary=MapClustersSummary,
    plan=plan,
    make=make,
    settings=("clusters.yaml",),
)
