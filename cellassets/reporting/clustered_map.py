"""The genes of a map in clustered order, with the groups that are known to belong together."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.mapping.relate import cosine_similarities
from cellassets.tables.parquet import vectors

MAX_GENES = 300


@dataclass(frozen=True)
class ClusteredMap:
    """Cosines between genes in clustered order, and the number of each gene's known group."""

    names: list[str]
    cosines: Float[np.ndarray, "gene gene"]
    groups: list[int | None]
    n_left_out: int


def genes_of(map_table: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows of a PERTURBATION_MAP table that are perturbed genes and not controls."""
    return map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())


def clustered_map(map_table: pl.DataFrame, known_pairs: pl.DataFrame | None) -> ClusteredMap:
    """Returns the genes of a map by average linkage of 1 - cosine; leaves are ordered so that neighbours are alike.

    At most 300 genes are taken: those in known pairs first, then those with the longest vectors. The rest is counted.

    Args:
        map_table: PERTURBATION_MAP rows.
        known_pairs: `entity1` and `entity2`, genes that are known to belong together; None where nothing is known.

    Source: optimal leaf ordering, Bar-Joseph et al. (2001), Bioinformatics 17:S22.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    genes = genes_of(map_table).with_columns(pl.coalesce("gene_symbol", "perturbation_id").alias("name"))
    groups = known_groups(known_pairs)
    lengths = np.linalg.norm(vectors(genes), axis=1)
    priority = np.lexsort((-lengths, [name not in groups for name in genes["name"]]))
    shown = genes[np.sort(priority[:MAX_GENES])]
    cosines = cosine_similarities(vectors(shown))
    order = np.arange(shown.height)
    if shown.height > 2:
        distances = squareform(np.maximum(1 - cosines, 0), checks=False)
        tree = linkage(distances, "average")
        order = leaves_list(optimal_leaf_ordering(tree, distances))
    names = shown["name"].to_list()
    ordered = [names[place] for place in order]
    return ClusteredMap(
        ordered, cosines[np.ix_(order, order)], [groups.get(n) for n in ordered], genes.height - shown.height
    )


def known_groups(pairs: pl.DataFrame | None) -> dict[str, int]:
    """Returns the number of each gene's group: genes that known pairs connect, largest group first."""
    if pairs is None:
        return {}
    root: dict[str, str] = {}

    def find(gene: str) -> str:
        root.setdefault(gene, gene)
        while root[gene] != gene:
            root[gene] = root[root[gene]]
            gene = root[gene]
        return gene

    for first, second in pairs.select("entity1", "entity2").rows():
        root[find(first)] = find(second)
    members: dict[str, list[str]] = {}
    for gene in sorted(root):
        members.setdefault(find(gene), []).append(gene)
    by_size = sorted(members.values(), key=lambda genes: (-len(genes), genes))
    return {gene: number for number, genes in enumerate(by_size) for gene in genes}
