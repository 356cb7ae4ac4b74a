"""Published statistics of genes beside the scores of a map: EFAAR's recall and clusters, proxbias, RxRx3-core.

The statistics themselves are in `efaar_map`, `proxbias` and `rxrx`. Each function here takes a judged map and the
parameters of the benchmark that it stands beside.
"""

import math

import numpy as np
import polars as pl

from cellassets.benchmarks.compounds.compound_targets import TargetParameters
from cellassets.benchmarks.definition import PublishedValue
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_genes import MapGenes, map_genes
from cellassets.benchmarks.published import efaar_map, proxbias, rxrx
from cellassets.benchmarks.relationships.relationships import RelationshipParameters
from cellassets.configuration import Parameters
from cellassets.errors import NotApplicable
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.tables.parquet import vectors

EFAAR, PROXBIAS, RXRX = "Celik et al. 2024 (EFAAR)", "Lazar et al. 2024 (proxbias)", "Kraus et al. 2025 (RxRx3-core)"
EFAAR_CODE = "EFAAR_benchmarking 1.0"
MAX_CLUSTER_COSINES = 1 << 26  # of one source: about 5 s


def known_relationships(judged: JudgedMap, parameters: RelationshipParameters) -> list[PublishedValue]:
    """Returns EFAAR's recall of each source of pairs, and the share of clusters of each source of sets that differ.

    A cluster differs where its Kolmogorov-Smirnov test has p of at most 0.05. The test takes pairs that share a gene as
    independent, so the share is too large. Where a source has very many clusters a random part of them is tested.
    """
    genes = map_genes(judged, "known_relationships")
    recalls = efaar_map.relationship_recall(
        genes.vectors, genes.names, judged.annotations.pairs, thresholds=efaar_map.THRESHOLDS[:1]
    )
    rows = [
        PublishedValue(f"recall[{row['source']}]", EFAAR, row["recall"], row["n_pairs"])
        for row in recalls.iter_rows(named=True)
    ]
    return [*rows, *_clusters(judged, genes, parameters.seed)]


def proximity_bias(judged: JudgedMap, _parameters: Parameters) -> list[PublishedValue]:
    """Returns proxbias' probability, over the whole genome, that a cosine within an arm is above one between arms.

    Raises:
        BenchmarkError: no arm has two genes, or there is one arm.
    """
    genes, arm_of = map_genes(judged, "proximity_bias"), judged.annotations.arm_of_gene()
    on_arm = np.array([name in arm_of for name in genes.names])
    arm = np.array([arm_of[name] for name in genes.names if name in arm_of])
    whole, _ = proxbias.proximity_bias(genes.vectors[on_arm], arm)
    p_value = None if math.isnan(whole.p_value) else whole.p_value
    return [PublishedValue("Brunner-Munzel probability", PROXBIAS, whole.probability, whole.n_within, p_value)]


def compound_targets(judged: JudgedMap, parameters: TargetParameters) -> list[PublishedValue]:
    """Returns RxRx3-core's mean average precision and AUROC of the known targets of compounds.

    Of each gene the largest |cosine| over the concentrations counts. Annotations hold targets and no measured
    activities: every known target counts as active, and negatives are drawn from the targets of other compounds.

    Raises:
        BenchmarkError: no compound of the map has a target and enough others among its genes.
    """
    genes = map_genes(judged, "compound_targets")
    compounds = judged.map_table.filter(
        (pl.col("perturbation_kind") == "compound")
        & pl.col("control_kind").is_null()
        & pl.col("compound_id").is_not_null()
    )
    targets = pl.concat(rows.select("compound_id", "gene_symbol") for rows in judged.annotations.targets.values())
    found = rxrx.compound_gene_retrieval(
        (vectors(compounds), compounds.select("compound_id", "concentration_um")),
        (genes.vectors, genes.names),
        targets.unique(maintain_order=True).with_columns(pl.lit(0.0).alias("activity_nm")),
        seed=parameters.seed,
    )
    at_best = found.filter(pl.col("concentration_um").is_null())
    if at_best.is_empty():
        message = "compound_targets: no compound of this map has a target that RxRx3-core's statistic can rank"
        raise NotApplicable(message)
    return [
        PublishedValue(statistic, RXRX, float(at_best[column].to_numpy().mean()), at_best.height)
        for statistic, column in (("average precision", "average_precision"), ("AUROC", "auroc"))
    ]


def _clusters(judged: JudgedMap, genes: MapGenes, seed: int) -> list[PublishedValue]:
    rows = []
    for source, sets in judged.annotations.sets.items():
        members = sets.filter(pl.col("member").is_in(genes.names)).group_by("set_id").agg("member").sort("set_id")
        sizes = members["member"].list.len().to_numpy()
        order = np.random.default_rng(seed).permutation(len(sizes))
        n_kept = max(1, int((np.cumsum(sizes[order]) * len(genes.names) <= MAX_CLUSTER_COSINES).sum()))
        kept = members[np.sort(order[:n_kept])]
        found = efaar_map.cluster_separation(genes.vectors, genes.names, dict(kept.rows()))
        if found.height:
            share = float((found["p_value"].to_numpy() <= SIGNIFICANCE_LEVEL).mean())
            rows.append(PublishedValue(f"share of clusters that differ[{source}]", EFAAR_CODE, share, found.height))
    return rows
