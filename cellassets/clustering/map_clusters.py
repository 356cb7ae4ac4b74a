"""The clusters of one map: everything that is published about them. Pure: a map goes in, tables and a summary come out.

The stage `map_clusters` reads the records that the map comes from, and writes the tables to files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.strata import plate_strata
from cellassets.clustering.enrichment import enrichment, set_sources
from cellassets.clustering.layout import map_layout
from cellassets.clustering.named import named_rows
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.resampling import ReplicateWells
from cellassets.clustering.stability import cluster_stability
from cellassets.clustering.summary import MapClustersSummary
from cellassets.clustering.tables import cluster_rows, resolution_summary
from cellassets.clustering.tree import merge_tree
from cellassets.clustering.usable_map import usable_vectors
from cellassets.errors import NotApplicable
from cellassets.mapping.aggregate import Aggregation
from cellassets.mapping.relate import mean_pairwise_cosine, unit_rows
from cellassets.progress import Progress, no_progress
from cellassets.tables.schemas import CLUSTERS, ENRICHMENT, MAP_POINTS

Labels = Int[np.ndarray, "row"]
MIN_RESAMPLED_FRAC = 0.5


@dataclass(frozen=True)
class MapClusters:
    """What is published: CLUSTERS, ENRICHMENT and MAP_POINTS rows, and the summary."""

    clusters: pl.DataFrame
    enrichment: pl.DataFrame
    points: pl.DataFrame
    summary: MapClustersSummary


def cluster_map(
    judged: JudgedMap,
    parameters: ClusterParameters,
    *,
    aggregation: Aggregation = "mean",
    progress: Progress = no_progress,
) -> MapClusters:
    """Returns the clusters of a map at several resolutions, their stability and enrichment, and a layout in the plane.

    The tables are empty where the map cannot be clustered, and the summary says why.

    Args:
        judged: the map, its wells, and the annotations of the kinds `sets`, `targets` and `gene_arms`.
        parameters: resolutions, resampling, and what is tested.
        aggregation: how the map was aggregated; maps of resampled wells are aggregated in the same way.
        progress: told after every map of resampled wells, and while the layout is made.

    Raises:
        BenchmarkError: a vector of the map is not finite.
    """
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    try:
        unit = usable_vectors(table, parameters.min_perturbations)
    except NotApplicable as reason:
        refused = MapClustersSummary(does_not_apply=str(reason))
        return MapClusters(CLUSTERS.empty(), ENRICHMENT.empty(), MAP_POINTS.empty(), refused)
    names = table["perturbation_id"].to_list()
    stratum, clusters = plate_strata(judged, names), cut_map(unit, parameters)
    wells = ReplicateWells(judged, names, aggregation)
    stability_missing = _stability_missing(wells)
    stability = {}
    if stability_missing is None:
        stability = cluster_stability(
            clusters,
            wells,
            lambda values: cut_map(unit_rows(values), parameters),
            n_resamples=parameters.n_resamples,
            seed=parameters.seed,
            progress=progress,
        )
    named = named_rows(table, stratum)
    found, n_sets = enrichment(clusters, named, set_sources(judged.annotations), parameters)
    rows = [cluster_rows(table, size, labels, stability.get(size)) for size, labels in clusters.items()]
    identity = [pl.lit(table[name][0]).alias(name) for name in ("dataset_id", "model_key")]
    places = map_layout(unit, seed=parameters.seed, progress=progress)
    points = table.select(
        "perturbation_id", x=pl.Series(places[:, 0]), y=pl.Series(places[:, 1]), agreement=_agreement(judged, names)
    )
    summary = MapClustersSummary(
        n_perturbations=table.height,
        n_sets=n_sets,
        stability_missing=stability_missing,
        enrichment_missing=_enrichment_missing(n_sets, named.stratum),
        resolutions=tuple(
            resolution_summary(
                size, labels, stability=stability.get(size), enriched=found, stratum=stratum, parameters=parameters
            )
            for size, labels in clusters.items()
        ),
    )
    return MapClusters(
        CLUSTERS.conform(pl.concat(rows), source=CLUSTERS.name),
        ENRICHMENT.conform(found.with_columns(identity), source=ENRICHMENT.name),
        MAP_POINTS.conform(points.with_columns(identity), source=MAP_POINTS.name),
        summary,
    )


def cut_map(unit: Float[np.ndarray, "row feature"], parameters: ClusterParameters) -> dict[int, Labels]:
    """Returns the clusters of unit vectors by resolution, finest first.

    Resolutions that leave fewer than two clusters are left out.
    """
    tree = merge_tree(unit, parameters.n_neighbours)
    n_clusters = {size: round(len(unit) / size) for size in sorted(set(parameters.resolutions))}
    return {size: tree.cut(number) for size, number in n_clusters.items() if number >= 2}


def _agreement(judged: JudgedMap, names: Sequence[str]) -> pl.Series:
    """The mean cosine between two wells of each perturbation; null where it has one."""
    number = {name: at for at, name in enumerate(names)}
    group = np.array([number.get(unit, -1) for unit in judged.units])
    found = mean_pairwise_cosine(judged.vectors, group, len(names))
    return pl.Series(found, dtype=pl.Float32).fill_nan(None)


def _stability_missing(wells: ReplicateWells) -> str | None:
    n_resampled, n_all = int((wells.n_wells >= 2).sum()), len(wells.n_wells)
    if n_resampled >= MIN_RESAMPLED_FRAC * n_all:
        return None
    return f"{n_resampled} of {n_all} perturbations have two wells or more: wells cannot be resampled"


def _enrichment_missing(n_sets: Mapping[str, int], stratum: Int[np.ndarray, "name"]) -> str | None:
    if not n_sets:
        return "no annotation source of sets, targets or chromosome arms; add one by `cellassets annotation add`"
    if not any(n_sets.values()):
        return f"no set of {', '.join(n_sets)} has enough members in the map; are the names of the same kind?"
    if len(np.unique(stratum)) == len(stratum):
        return "no two perturbations are on the same plates: none can exchange names with another"
    return None
