"""What people see of the clusters of a map, on the report page and in the Dagster UI: a chart, and the enriched sets.

Takes CLUSTERS and ENRICHMENT rows of one map. The words stand in `templates/clusters.html.j2`.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from cellassets.clustering.summary import MapClustersSummary
from cellassets.reporting.chart import Chart, rounded, specification
from cellassets.reporting.theme import BAND, CHANCE, OTHER, OWN
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

N_SETS = 12
WIDTH_PX, HEIGHT_PX = 240, 200
MAX_POINTS = 240
MIN_MEMBERS = 2
RICH, NOT_RICH = "rich in an annotated set", "not rich in any"


@dataclass(frozen=True)
class ClusterTables:
    """The clusters of one map: CLUSTERS and ENRICHMENT rows, and their summary."""

    clusters: pl.DataFrame
    enrichment: pl.DataFrame
    summary: MapClustersSummary


def cluster_section(found: ClusterTables | None, alpha: float = SIGNIFICANCE_LEVEL) -> dict[str, Any] | None:
    """Returns everything that the page shows of the clusters of a map; None where no clusters are published.

    Args:
        found: the clusters.
        alpha: a set with a q-value of at most this is called enriched.
    """
    if found is None:
        return None
    return {
        "does_not_apply": found.summary.does_not_apply,
        "missing": [text for text in (found.summary.stability_missing, found.summary.enrichment_missing) if text],
        "resolutions": [row.model_dump() for row in found.summary.resolutions],
        "chart": clusters_chart(found.clusters, found.enrichment, alpha=alpha),
        "sets": clearest_sets(found.enrichment, alpha=alpha),
    }


def clearest_sets(enrichment: pl.DataFrame, *, alpha: float = SIGNIFICANCE_LEVEL) -> list[dict[str, Any]]:
    """Returns the enriched sets with the smallest p-values, each in its clearest cluster; no chromosome arms.

    Args:
        enrichment: ENRICHMENT rows of one map.
        alpha: the largest q-value of an enriched set.
    """
    rows = enrichment.filter(pl.col("source_kind") != "gene_arms", pl.col("q_value") <= alpha)
    ordered = rows.sort("p_permutation", "p_hypergeometric", "resolution", "cluster_index", "source", "set_id")
    return (
        ordered.unique(["source_kind", "source", "set_id"], keep="first", maintain_order=True).head(N_SETS).to_dicts()
    )


def clusters_chart(
    clusters: pl.DataFrame, enrichment: pl.DataFrame, *, alpha: float = SIGNIFICANCE_LEVEL
) -> Chart | None:
    """Returns the stability of every cluster beside the null distribution of clusters of its size, by resolution.

    None where there is no stability. Clusters of one perturbation are left out, and of more than 240 clusters of one
    resolution the smallest.

    Args:
        clusters: CLUSTERS rows of one map.
        enrichment: ENRICHMENT rows of the same map.
        alpha: the largest q-value of an enriched set.
    """
    own = ["resolution", "cluster_index"]
    one_each = clusters.unique(own, keep="first").filter(
        pl.col("n_members") >= MIN_MEMBERS, pl.col("stability").is_not_null()
    )
    if one_each.is_empty():
        return None
    rich = enrichment.filter(pl.col("source_kind") != "gene_arms", pl.col("q_value") <= alpha).sort("p_permutation")
    named = rich.unique(own, keep="first", maintain_order=True).select(*own, "set_id")
    shown = (
        one_each.join(named, on=own, how="left")
        .sort(*own)
        .filter(pl.int_range(pl.len()).over("resolution") < MAX_POINTS)
        .with_columns(pl.int_range(1, pl.len() + 1).over("resolution").alias("rank"))
    )
    n_stable = one_each.filter(pl.col("stability") > pl.col("null_high")).height
    description = (
        f"{n_stable} of {one_each.height} clusters are found again more often than 97.5% of clusters of shuffled wells"
    )
    return Chart("Stability of clusters", description, _draw([_row(row) for row in shown.iter_rows(named=True)]))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "resolution": row["resolution"],
        "rank": row["rank"],
        "n": row["n_members"],
        "stability": rounded(row["stability"]),
        "mean": rounded(row["null_mean"]),
        "high": rounded(row["null_high"]),
        "set": row["set_id"] or "none",
        "outcome": NOT_RICH if row["set_id"] is None else RICH,
    }


def _draw(rows: list[dict[str, Any]]) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart()
    names = [RICH, NOT_RICH, "mean of the null", "up to 97.5% of the null"]
    colour = alt.Scale(domain=names, range=[OWN, OTHER, CHANCE, BAND])
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, labelLimit=300, offset=10)
    x = alt.X("rank:Q", axis=alt.Axis(title="clusters, largest first", grid=False, tickMinStep=1))
    y = alt.Y("stability:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="Jaccard similarity", tickCount=5))
    tooltip = [
        alt.Tooltip("n:Q", title="perturbations"),
        alt.Tooltip("stability:Q", title="stability", format=".3f"),
        alt.Tooltip("mean:Q", title="mean of the null", format=".3f"),
        alt.Tooltip("high:Q", title="97.5% of the null", format=".3f"),
        alt.Tooltip("set:N", title="enriched set"),
    ]
    layers = alt.layer(
        base.mark_area().encode(x=x, y=alt.Y("mean:Q"), y2="high:Q", color=alt.datum(names[3])),
        base.mark_line(strokeWidth=1.5).encode(x=x, y="mean:Q", color=alt.datum(names[2])),
        base.mark_circle(size=52, opacity=1, stroke="#ffffff", strokeWidth=0.6).encode(
            x=x, y=y, color=alt.Color("outcome:N", scale=colour, legend=legend), tooltip=tooltip
        ),
        data=alt.NamedData("clusters"),
    ).properties(width=WIDTH_PX, height=HEIGHT_PX)
    header = alt.Header(title="mean number of perturbations per cluster")
    by_resolution = layers.facet(column=alt.Column("resolution:O", header=header)).resolve_scale(x="independent")
    return specification(by_resolution, clusters=rows)
