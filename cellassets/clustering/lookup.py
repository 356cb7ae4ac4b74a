"""Questions to published clusters: which are enriched, and which is a perturbation in?

Takes CLUSTERS and ENRICHMENT rows of one map.
"""

import polars as pl

from cellassets.errors import DatasetError
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

CLUSTER = ["resolution", "cluster_index"]
MAX_NAMED = 10


def enriched_clusters(
    clusters: pl.DataFrame, enrichment: pl.DataFrame, *, alpha: float = SIGNIFICANCE_LEVEL
) -> pl.DataFrame:
    """Returns the enrichments with a q-value of at most `alpha`, clearest first, with the stability of their cluster.

    Args:
        clusters: CLUSTERS rows of one map.
        enrichment: ENRICHMENT rows of the same map.
        alpha: the largest q-value.
    """
    stability = clusters.select(*CLUSTER, "n_members", "stability", "null_mean").unique(CLUSTER)
    rich = enrichment.filter(pl.col("q_value") <= alpha).join(stability, on=CLUSTER, how="left")
    columns = [
        "set_id", "source_kind", "source", *CLUSTER, "n_members", "stability", "null_mean", "n_overlap", "n_set",
        "fold", "p_hypergeometric", "p_permutation", "q_value", "members",
    ]  # fmt: skip
    return rich.select(columns).sort("p_permutation", "p_hypergeometric", *CLUSTER, "source_kind", "source", "set_id")


def clusters_with(clusters: pl.DataFrame, enrichment: pl.DataFrame, perturbation_id: str) -> pl.DataFrame:
    """Returns the cluster of a perturbation at each resolution, with its members and its enriched sets.

    Args:
        clusters: CLUSTERS rows of one map.
        enrichment: ENRICHMENT rows of the same map.
        perturbation_id: a perturbation of the map.

    Raises:
        DatasetError: the map has no such perturbation.
    """
    own = clusters.filter(pl.col("perturbation_id") == perturbation_id)
    if own.is_empty():
        names = sorted(clusters["perturbation_id"].unique())
        message = (
            f"no perturbation {perturbation_id!r} in the clusters of this map; choose one of its {len(names)}, such as "
            f"{names[:MAX_NAMED]}"
        )
        raise DatasetError(message)
    members = clusters.group_by(CLUSTER).agg(pl.col("perturbation_id").sort().str.join(";").alias("members"))
    rich = enrichment.filter(pl.col("q_value") <= SIGNIFICANCE_LEVEL).sort("p_permutation")
    sets = rich.group_by(CLUSTER, maintain_order=True).agg(pl.col("set_id").str.join(";").alias("enriched_sets"))
    found = own.join(members, on=CLUSTER).join(sets, on=CLUSTER, how="left").sort("resolution")
    return found.select(*CLUSTER, "n_members", "stability", "null_mean", "null_high", "enriched_sets", "members")
