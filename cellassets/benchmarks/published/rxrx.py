"""Retrieval of the genes that compounds are known to act on, as RxRx3-core publishes it.

The input is one vector per gene, one vector per compound and concentration, and measured activities. The result has one
row per compound and concentration. Negatives are drawn from the genes that the activities name.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.published.checked import checked_names, require_matrices
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments, require_finite
from cellassets.knowledge.letter_case import other_case_note
from cellassets.mapping.relate import unit_rows

ACTIVE_NM = 1_000.0
INACTIVE_NM = 10_000.0
N_LEAST_NEGATIVES = 20
METRICS = ("average_precision", "auroc", "random_average_precision", "random_auroc")

Profiles = Float[np.ndarray, "profile feature"]
Genes = Float[np.ndarray, "gene feature"]
Scores = Float[np.ndarray, "ranking item"]


@dataclass(frozen=True)
class Candidates:
    """The genes that are ranked for one compound: places in a list of genes, the active ones first."""

    compound_id: str
    genes: Int[np.ndarray, "item"]
    n_active: int


def compound_gene_retrieval(
    compounds: tuple[Profiles, pl.DataFrame],
    genes: tuple[Genes, list[str]],
    activities: pl.DataFrame,
    *,
    seed: int = 42,
) -> pl.DataFrame:
    """Returns, for each compound and concentration, how well |cosine| ranks its active genes before drawn others.

    Args:
        compounds: vectors, and their compound_id and concentration_um.
        genes: vectors, and the genes.
        activities: compound_id, gene_symbol, activity_nm; a gene is active at 1 uM or less, left out above that up to
            10 uM. Genes that the map lacks are left out.
        seed: of the negatives, and of the random scores beside them.

    Returns:
        compound_id, concentration_um (null: the largest |cosine| of each gene over the compound's concentrations),
        n_active, n_negatives, average_precision, auroc, and the same of random scores.

    Raises:
        BenchmarkError: no compound of the map has an active gene and enough others; a gene has several rows, a name is
            missing, or a number is not finite.

    Source: Kraus et al. (2025), arXiv:2503.20158; negatives are twice the actives and at least 20.
    """
    vectors, labels = compounds
    _check(vectors, labels, genes, activities)
    candidates = candidate_genes(activities, genes[1], seed=seed)
    owners = labels["compound_id"].to_numpy()
    candidates = [one for one in candidates if (owners == one.compound_id).any()]
    if not candidates:
        message = (
            f"compound_gene_retrieval: none of {labels['compound_id'].n_unique()} compounds has a gene active at "
            f"{ACTIVE_NM:.0f} nM or less and {N_LEAST_NEGATIVES} others of {len(genes[1])} genes; check the names"
            f"{other_case_note(activities['gene_symbol'].unique(), genes[1])}"
        )
        raise BenchmarkError(message)
    unit_compounds, unit_genes = unit_rows(vectors), unit_rows(genes[0])
    rng = np.random.default_rng(seed)
    tables = []
    for size in sorted({len(one.genes) for one in candidates}):
        alike = [one for one in candidates if len(one.genes) == size]
        rows = [np.flatnonzero(owners == one.compound_id) for one in alike]
        scores = [np.abs(unit_compounds[own] @ unit_genes[one.genes].T) for own, one in zip(rows, alike, strict=True)]
        tables.append(_rankings(alike, rows, scores, labels=labels, rng=rng))
    return pl.concat(tables).sort("compound_id", "concentration_um", nulls_last=True)


def _check(vectors: Profiles, labels: pl.DataFrame, genes: tuple[Genes, list[str]], activities: pl.DataFrame) -> None:
    where = "compound_gene_retrieval"
    require_matrices(where, compounds=vectors, genes=genes[0])
    owners = checked_names(where, labels["compound_id"].to_numpy(), len(vectors), what="compounds")
    names = checked_names(where, genes[1], len(genes[0]), what="genes")
    if len(np.unique(names)) < len(names):
        message = f"{where}: {len(names)} rows of {len(np.unique(names))} genes; aggregate to one row per gene first"
        raise BenchmarkError(message)
    require_finite(where, vectors, names=owners, kind="compound", error=BenchmarkError)
    require_finite(where, genes[0], names=names, kind="gene", error=BenchmarkError)
    active = activities["compound_id"].to_list()
    nanomolar = activities["activity_nm"].to_numpy()
    require_finite(where, nanomolar, names=active, kind="the activity of", error=BenchmarkError)


def candidate_genes(activities: pl.DataFrame, genes: list[str], *, seed: int) -> list[Candidates]:
    """Returns each compound's active genes and its negatives.

    Compounds without active genes, or with too few other genes, are left out. The negatives of every compound are drawn
    with the same seed, as in the reference, from names in alphabetical order. The reference draws them in the order of
    a Python set, which differs from one process to the next.

    Args:
        activities: compound_id, gene_symbol, activity_nm.
        genes: genes of the map; others are left out.
        seed: of the draws.
    """
    place = {gene: number for number, gene in enumerate(genes)}
    known = activities.filter(pl.col("gene_symbol").is_in(genes))
    pool = np.unique(known["gene_symbol"].to_numpy())
    found = []
    for (compound_id,), own in known.group_by("compound_id", maintain_order=True):
        active = own.filter(pl.col("activity_nm") <= ACTIVE_NM)["gene_symbol"].unique(maintain_order=True).to_list()
        left_out = own.filter(pl.col("activity_nm") <= INACTIVE_NM)["gene_symbol"].to_list()
        others = np.setdiff1d(pool, np.array(left_out, dtype=pool.dtype))
        n_negatives = max(2 * len(active), N_LEAST_NEGATIVES)
        if active and len(others) >= n_negatives:
            drawn = np.random.default_rng(seed).choice(others, n_negatives, replace=False)
            items = np.array([place[gene] for gene in [*active, *drawn]])
            found.append(Candidates(str(compound_id), items, len(active)))
    return found


@finite_arguments(BenchmarkError)
def ranking_metrics(
    scores: Scores, is_active: Bool[np.ndarray, "ranking item"]
) -> tuple[Float[np.ndarray, "ranking"], Float[np.ndarray, "ranking"]]:
    """Returns average precision and the area under the ROC curve of each ranking.

    Of equal scores, negatives count as ranked first in the average precision, and halves are counted in the area.

    Args:
        scores: larger first.
        is_active: at least one, and not all, of each ranking.

    Raises:
        BenchmarkError: the shapes differ, or a ranking has no active item or no other.
    """
    from scipy.stats import rankdata

    n_active = _n_active(scores, is_active)
    order = np.lexsort((is_active, -scores))
    ordered = np.take_along_axis(is_active, order, axis=1)
    precision = np.cumsum(ordered, axis=1) / np.arange(1, ordered.shape[1] + 1)
    rank_sums = (rankdata(scores, axis=1) * is_active).sum(axis=1)
    pairs = n_active * (ordered.shape[1] - n_active)
    return (precision * ordered).sum(axis=1) / n_active, (rank_sums - n_active * (n_active + 1) / 2) / pairs


def _n_active(scores: Scores, is_active: Bool[np.ndarray, "ranking item"]) -> Int[np.ndarray, "ranking"]:
    if scores.ndim != 2 or scores.shape != is_active.shape:
        message = (
            f"ranking_metrics: scores of shape {scores.shape} and is_active of shape {is_active.shape}; expected two "
            "arrays of rankings x items"
        )
        raise BenchmarkError(message)
    n_active = is_active.sum(axis=1)
    is_wrong = (n_active == 0) | (n_active == scores.shape[1])
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        message = (
            f"ranking_metrics: {n_active[row]} of {scores.shape[1]} items are active in ranking {row}; expected some, "
            "and not all"
        )
        raise BenchmarkError(message)
    return n_active


def retrieval_summary(retrieval: pl.DataFrame) -> pl.DataFrame:
    """Returns mean and median of each metric over compounds, one row per concentration.

    Args:
        retrieval: result of `compound_gene_retrieval`.
    """
    means = [pl.col(name).mean().name.prefix("mean_") for name in METRICS]
    medians = [pl.col(name).median().name.prefix("median_") for name in METRICS]
    grouped = retrieval.group_by("concentration_um").agg(pl.len().alias("n_compounds"), *means, *medians)
    return grouped.sort("concentration_um", nulls_last=True)


def _rankings(
    candidates: list[Candidates],
    rows: list[Int[np.ndarray, "_"]],
    scores: list[Scores],
    *,
    labels: pl.DataFrame,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Metrics of compounds with equally many genes, at each concentration and of the maximum over concentrations."""
    counts = np.array([len(own) for own in rows])
    each = np.concatenate([np.arange(len(counts)).repeat(counts), np.arange(len(counts))])
    best = np.stack([own.max(axis=0) for own in scores])
    values = np.concatenate([*scores, best])
    n_active = np.array([one.n_active for one in candidates])[each]
    is_active = np.arange(values.shape[1]) < n_active[:, None]
    metrics = [*ranking_metrics(values, is_active), *ranking_metrics(rng.random(values.shape), is_active)]
    concentration = labels["concentration_um"].to_numpy()[np.concatenate(rows)].tolist() + [None] * len(counts)
    columns: dict[str, np.ndarray | list[float | None]] = {
        "compound_id": np.array([one.compound_id for one in candidates])[each],
        "concentration_um": concentration,
        "n_active": n_active,
        "n_negatives": values.shape[1] - n_active,
    }
    return pl.DataFrame(columns | dict(zip(METRICS, metrics, strict=True)))
