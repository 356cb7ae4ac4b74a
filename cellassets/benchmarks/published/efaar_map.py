"""Recall of known relationships and separation of known clusters as EFAAR publishes them, from one vector per gene.

`cellassets.benchmarks.relationships` differs in its null distribution. Here pairs are counted beyond thresholds, and
the p-value of a cluster treats pairs that share a gene as independent. Annotations are tables as read by
`cellassets.knowledge.annotations`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.published.checked import (
    Names,
    checked_names,
    matrix_arguments,
    require_places,
    require_shares,
)
from cellassets.benchmarks.published.groups import BLOCK_VALUES, cosines_to_all
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.knowledge.letter_case import other_case_note
from cellassets.mapping.relate import unit_rows

CLUSTER_COLUMNS = {
    "cluster": pl.String,
    **dict.fromkeys(("n_genes", "n_other_genes"), pl.Int64),
    **dict.fromkeys(("mean_within", "mean_between", "ks_statistic"), pl.Float64),
}
N_EXACT = 10_000  # scipy counts all orders where both samples have at most this many values
MAX_KEPT_GENES = 2048
THRESHOLDS = ((0.05, 0.95), (0.1, 0.9))
Genes = Float[np.ndarray, "gene feature"]


@matrix_arguments("genes")
@finite_arguments(BenchmarkError, genes=("names", "gene"))
def relationship_recall(
    genes: Genes,
    names: Names,
    pairs: Mapping[str, pl.DataFrame],
    *,
    thresholds: Sequence[tuple[float, float]] = THRESHOLDS,
) -> pl.DataFrame:
    """Returns the share of known pairs among the most similar and most opposite of all pairs of the map.

    A pair counts where at most the left share of all pairs is at most as similar, or at least the right share is
    less similar. A pair of a gene with itself is left out; the reference recalls it always.

    Args:
        genes: one vector per gene.
        names: the genes, in upper and lower case as in `pairs`.
        pairs: entity1 and entity2, each pair once, by annotation source.
        thresholds: left and right shares, from 0 to 1. A pair may come in either order: as in the reference, the
            smaller share counts as the left one. The result shows the pair as given.

    Returns:
        source, left, right, recall, n_pairs (known and in the map), n_null_pairs (all of the map); no rows of a source
        that has no pair in the map.

    Raises:
        BenchmarkError: a gene has several rows or none, a vector is not finite, a table lacks a column, a threshold
            is not a share, or no name of the pairs is in the map, though some are there in another letter case.

    Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463.
    """
    for left, right in thresholds:
        require_shares("relationship_recall", left=left, right=right)
    index = {
        name: number
        for number, name in enumerate(checked_names("relationship_recall", names, len(genes), what="genes").tolist())
    }
    if len(index) < len(names):
        message = f"relationship_recall: {len(names)} rows of {len(index)} genes; aggregate to one row per gene first"
        raise BenchmarkError(message)
    places = {source: _places(table, index) for source, table in pairs.items()}
    places = {source: found for source, found in places.items() if len(found)}
    if not places:
        _refuse_other_case(pairs, index)
        shares = dict.fromkeys(("left", "right", "recall"), pl.Float64)
        return pl.DataFrame(schema={"source": pl.String, **shares, "n_pairs": pl.Int64, "n_null_pairs": pl.Int64})
    sizes = {source: len(found) for source, found in places.items()}
    pooled = np.concatenate(list(places.values()))
    places.clear()
    at_most, below = pair_percentiles(genes, pooled)
    rows = []
    for (source, n_pairs), last in zip(sizes.items(), np.cumsum(list(sizes.values())), strict=True):
        of_source = slice(last - n_pairs, last)
        for left, right in thresholds:
            is_recalled = (at_most[of_source] <= min(left, right)) | (below[of_source] >= max(left, right))
            recall = float(is_recalled.sum() / len(is_recalled))
            rows.append({"source": source, "left": left, "right": right, "recall": recall, "n_pairs": len(is_recalled)})
    return pl.DataFrame(rows).with_columns(pl.lit(len(genes) * (len(genes) - 1) // 2, pl.Int64).alias("n_null_pairs"))


@matrix_arguments("genes")
@finite_arguments(BenchmarkError)
def pair_percentiles(
    genes: Genes, pairs: Int[np.ndarray, "pair 2"]
) -> tuple[Float[np.ndarray, "pair"], Float[np.ndarray, "pair"]]:
    """Returns, for each pair, the share of all pairs with a cosine at most as large, and with a smaller one.

    All cosines are needed twice: to read those of the pairs, and to count. Up to 2,048 genes they are kept in memory,
    each once; for more genes they are computed in blocks, both times.

    Args:
        genes: one vector per gene.
        pairs: places of the two genes, which differ.

    Raises:
        BenchmarkError: a place is not among the genes, a pair is of a gene with itself, or a vector is not finite.
    """
    n_genes = len(genes)
    _check_pairs(pairs, n_genes)
    place = _places_among_all(pairs, n_genes)
    values = np.empty(len(pairs))
    kept = list(_upper_cosines(genes)) if n_genes <= MAX_KEPT_GENES else []
    for first, cosines in kept or _upper_cosines(genes):
        here = np.flatnonzero((place >= first) & (place < first + len(cosines)))
        values[here] = cosines[place[here] - first]
    del place
    order = np.argsort(values)
    values.sort()
    at_most, below = np.zeros(len(pairs)), np.zeros(len(pairs))
    for _, cosines in kept or _upper_cosines(genes):
        cosines.sort()
        at_most[order] += np.searchsorted(cosines, values, side="right")
        below[order] += np.searchsorted(cosines, values, side="left")
    n_pairs = n_genes * (n_genes - 1) // 2
    at_most /= n_pairs
    below /= n_pairs
    return at_most, below


def _check_pairs(pairs: Int[np.ndarray, "pair 2"], n_genes: int) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        message = (
            f"pair_percentiles: pairs are an array of shape {pairs.shape}; expected one row of two places per pair"
        )
        raise BenchmarkError(message)
    require_places("pair_percentiles", n_genes, pairs=pairs)
    is_itself = pairs[:, 0] == pairs[:, 1]
    if is_itself.any():
        row = int(np.argmax(is_itself))
        message = f"pair_percentiles: pair {row} is of gene {pairs[row, 0]} with itself; expected two genes"
        raise BenchmarkError(message)


def _places_among_all(pairs: Int[np.ndarray, "pair 2"], n_genes: int) -> Int[np.ndarray, "pair"]:
    """The number of each pair among all pairs of genes, row by row of the upper triangle."""
    low, high = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1)
    return low * (2 * n_genes - low - 1) // 2 + high - low - 1


@matrix_arguments("genes")
@finite_arguments(BenchmarkError, genes=("names", "gene"))
def cluster_separation(
    genes: Genes, names: Names, clusters: Mapping[str, Collection[str]], *, min_genes: int = 10
) -> pl.DataFrame:
    """Returns how the cosines within each known cluster differ from those between it and all other genes.

    Args:
        genes: one vector per gene.
        names: the genes.
        clusters: genes of each cluster.
        min_genes: clusters with fewer genes in the map are left out.

    Returns:
        cluster, n_genes, n_other_genes, mean_within, mean_between, ks_statistic, p_value (two-sided, of two samples,
        as if pairs were independent).

    Source: the cluster benchmark of EFAAR_benchmarking 1.0; Kolmogorov and Smirnov's test of two samples.
    """
    index = {
        name: number
        for number, name in enumerate(checked_names("cluster_separation", names, len(genes), what="genes").tolist())
    }
    found = {
        cluster: np.array(sorted(index[gene] for gene in set(members) if gene in index), dtype=np.int64)
        for cluster, members in clusters.items()
    }
    n_least = max(min_genes, 2)
    found = {cluster: members for cluster, members in found.items() if n_least <= len(members) < len(names)}
    unit = unit_rows(genes)
    rows, exact = [], []
    for (cluster, members), cosines in zip(found.items(), cosines_to_all(unit, list(found.values())), strict=True):
        n_genes = len(members)
        within = cosines[:, members][np.triu_indices(n_genes, 1)]
        between = np.delete(cosines, members, axis=1).ravel()
        del cosines
        means = {"mean_within": float(within.mean()), "mean_between": float(between.mean())}
        sizes = {"n_genes": n_genes, "n_other_genes": len(names) - n_genes}
        rows.append({"cluster": cluster, **sizes, **means, "ks_statistic": _largest_difference(within, between)})
        exact.append(_exact_p_value(within, between))
    table = pl.DataFrame(rows, schema=CLUSTER_COLUMNS)
    return table.with_columns(pl.Series("p_value", _p_values(table, np.array(exact, dtype=np.float64))))


def _p_values(table: pl.DataFrame, exact: Float[np.ndarray, "cluster"]) -> Float[np.ndarray, "cluster"]:
    """Two-sided, as `scipy.stats.ks_2samp` computes them: exact where samples are small, otherwise asymptotic."""
    from scipy.stats import kstwo

    statistic, n_genes, n_others = (
        table[name].to_numpy().astype(np.float64) for name in ("ks_statistic", "n_genes", "n_other_genes")
    )
    n_within, n_between = n_genes * (n_genes - 1) / 2, n_genes * n_others
    limiting = kstwo.sf(statistic, np.round(n_within * n_between / (n_within + n_between)))
    return np.where(np.isnan(exact), limiting, exact)


def _exact_p_value(within: Float[np.ndarray, "within"], between: Float[np.ndarray, "between"]) -> float:
    """Computed exactly by scipy where samples are small; NaN where they are not."""
    from scipy.stats import ks_2samp

    is_small = max(len(within), len(between)) <= N_EXACT
    return float(ks_2samp(within, between).pvalue) if is_small else float("nan")


def _largest_difference(within: Float[np.ndarray, "within"], between: Float[np.ndarray, "between"]) -> float:
    """Kolmogorov and Smirnov's statistic of two samples, for many more values between than within.

    Between two adjacent values of the smaller sample the difference of the distributions is monotonic, so it is
    evaluated just below and at each of them. Both arrays are sorted in place.
    """
    n_within, n_between = len(within), len(between)
    within.sort()
    between.sort()
    at_most = (
        np.searchsorted(within, within, side="right") / n_within
        - np.searchsorted(between, within, side="right") / n_between
    )
    below = (
        np.searchsorted(within, within, side="left") / n_within
        - np.searchsorted(between, within, side="left") / n_between
    )
    return float(max(np.abs(at_most).max(), np.abs(below).max()))


def _places(table: pl.DataFrame, index: dict[str, int]) -> Int[np.ndarray, "pair 2"]:
    """Places of the pairs of two different genes that are both in the map."""
    if not {"entity1", "entity2"} <= set(table.columns):
        message = f"relationship_recall: a table of pairs has the columns {table.columns}; expected entity1 and entity2"
        raise BenchmarkError(message)
    both = [table[name].replace_strict(index, default=None, return_dtype=pl.Int32) for name in ("entity1", "entity2")]
    found = pl.DataFrame(dict(zip("ab", both, strict=True))).drop_nulls()
    return found.filter(pl.col("a") != pl.col("b")).to_numpy()


def _refuse_other_case(pairs: Mapping[str, pl.DataFrame], index: Mapping[str, int]) -> None:
    annotated = {
        name for table in pairs.values() for name in {*table["entity1"], *table["entity2"]} if name is not None
    }
    note = other_case_note(annotated, index)
    if note:
        message = f"relationship_recall: none of the pairs has both genes among the map's {len(index)}{note}"
        raise BenchmarkError(message)


def _upper_cosines(genes: Genes) -> Iterator[tuple[int, Float[np.ndarray, "pair"]]]:
    """The number of pairs before a block of genes, and the cosines of each of its genes to all genes after it."""
    unit = unit_rows(genes)
    first, n_before = 0, 0
    while first < len(unit):
        n_rows = max(1, BLOCK_VALUES // (len(unit) - first))
        block = unit[first : first + n_rows] @ unit[first:].T
        cosines = np.concatenate([row[number + 1 :] for number, row in enumerate(block)])
        del block
        yield n_before, cosines
        first, n_before = first + n_rows, n_before + len(cosines)
