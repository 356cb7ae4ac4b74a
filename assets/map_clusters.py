"""`map_clusters`: groups of similar perturbations on a map, and the annotated sets that they are rich in."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, publish
from assets.missing_map import checks_without_map
from assets.perturbation_map import perturbation_map
from assets.pictures import chart as picture
from cellassets.clustering.summary import MapClustersSummary
from cellassets.stages.map_clusters import CODE_VERSION, MAP_CLUSTERS
from resources.partitions import DATASET_MODEL
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

STABILITY_CHECK, CONFOUNDER_CHECK = "clusters_are_found_again", "clusters_are_not_plates_or_chromosome_arms"
MAX_P_VALUE = 0.05
MAX_CONFOUNDED_FRAC = 0.1


@dg.asset(
    deps=[perturbation_map],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"scikitlearn", "parquet"},
    code_version=CODE_VERSION,
    output_required=False,  # a backfill over all partitions includes datasets of which a model has no map
    check_specs=[
        *check_of(
            MAP_CLUSTERS,
            STABILITY_CHECK,
            "At one resolution at least, resampled wells give the same clusters again more often than shuffled wells "
            f"do (p ≤ {MAX_P_VALUE}).",
        ),
        *check_of(
            MAP_CLUSTERS,
            CONFOUNDER_CHECK,
            f"At every resolution at most {MAX_CONFOUNDED_FRAC:.0%} of clusters are rich in perturbations of the same "
            "plates, and at most as many in genes of one chromosome arm.",
        ),
    ],
)
def map_clusters(
    context: dg.AssetExecutionContext, deployment: DeploymentResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Clusters of one map at several resolutions: their stability, and the annotated sets that they are rich in."""
    if failed := checks_without_map(context, MAP_CLUSTERS, deployment, (STABILITY_CHECK, CONFOUNDER_CHECK)):
        yield from failed
        return
    published = publish(context, MAP_CLUSTERS, deployment)
    summary = MapClustersSummary.model_validate(published.record.summary)
    checks = [check_stability(summary), check_confounders(summary)]
    yield materialised(published, metadata=pictures(published, summary), checks=checks)


def check_stability(summary: MapClustersSummary) -> dg.AssetCheckResult:
    """Returns the check of the stability; it passes where the map cannot be clustered, and fails without stability."""
    if summary.does_not_apply:
        return _result(STABILITY_CHECK, f"does not apply: {summary.does_not_apply}", passed=True)
    if summary.stability_missing:
        return _result(STABILITY_CHECK, summary.stability_missing, passed=False)
    found = {row.resolution: row.p_value for row in summary.resolutions if row.p_value is not None}
    told = ", ".join(f"p = {p_value:.2g} at {resolution}" for resolution, p_value in found.items())
    passed = min(found.values(), default=1.0) <= MAX_P_VALUE
    return _result(STABILITY_CHECK, told or "no resolution leaves two clusters", passed=passed)


def check_confounders(summary: MapClustersSummary) -> dg.AssetCheckResult:
    """Returns the check of clusters that consist of plates or of chromosome arms."""
    if summary.does_not_apply:
        return _result(CONFOUNDER_CHECK, f"does not apply: {summary.does_not_apply}", passed=True)
    rows = [row for row in summary.resolutions if row.n_tested]
    fracs = {
        "the same plates": max((row.n_of_one_plate / row.n_tested for row in rows), default=0.0),
        "one chromosome arm": max((row.n_of_one_arm / row.n_tested for row in rows), default=0.0),
    }
    told = ", ".join(f"{frac:.0%} of clusters are rich in {what}" for what, frac in fracs.items())
    return _result(CONFOUNDER_CHECK, told, passed=max(fracs.values()) <= MAX_CONFOUNDED_FRAC)


def _result(name: str, description: str, *, passed: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
    )


def pictures(published: "Published", summary: MapClustersSummary) -> dict[str, dg.MarkdownMetadataValue]:
    """Returns the resolutions and the clearest enrichments as tables, and a plot of every cluster's stability."""
    from cellassets.reporting.chart import data_uri
    from cellassets.reporting.cluster_section import clearest_sets, clusters_chart
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import CLUSTERS, ENRICHMENT

    if summary.does_not_apply:
        return {}
    clusters = read_table(published.file("clusters.parquet"), CLUSTERS)
    enrichment = read_table(published.file("enrichment.parquet"), ENRICHMENT)
    chart = clusters_chart(clusters, enrichment)
    shown = {} if chart is None else {"plot": picture("stability of clusters", data_uri(chart))}
    rich = clearest_sets(enrichment)
    beside = {"enriched_sets": _enriched(rich)} if rich else {}
    return {"resolutions_table": _resolutions(summary), **beside, **shown}


def _resolutions(summary: MapClustersSummary) -> dg.MarkdownMetadataValue:
    lines = [
        "| resolution | clusters | adjusted Rand | of shuffled wells | p | rich in a set | in plates | in an arm |"
    ]
    lines.append(f"|{' --- |' * 8}")
    for row in summary.resolutions:
        rand, null, p_value = (_number(value) for value in (row.adjusted_rand, row.null_adjusted_rand, row.p_value))
        counts = f"{row.n_enriched} | {row.n_of_one_plate} | {row.n_of_one_arm}"
        lines.append(f"| {row.resolution} | {row.n_clusters} | {rand} | {null} | {p_value} | {counts} |")
    return dg.MetadataValue.md("\n".join(lines))


def _enriched(rows: list[dict[str, Any]]) -> dg.MarkdownMetadataValue:
    lines = ["| set | source | resolution, cluster | overlap | fold | p hypergeometric | p permutation | q |"]
    lines.append(f"|{' --- |' * 8}")
    for row in rows:
        overlap = f"{row['n_overlap']} of {row['n_set']} | {row['fold']:.1f}"
        p_values = f"{row['p_hypergeometric']:.2g} | {row['p_permutation']:.2g} | {row['q_value']:.2g}"
        place = f"{row['resolution']}, {row['cluster_index']}"
        lines.append(f"| {row['set_id']} | {row['source']} | {place} | {overlap} | {p_values} |")
    return dg.MetadataValue.md("\n".join(lines))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
