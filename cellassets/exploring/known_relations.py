"""What annotation sources say about the rows of a map: known pairs, and sets that a row is a member of.

Held as sorted arrays: a source such as StringDB has millions of pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int

from cellassets.clustering.enrichment import SetSource, set_sources
from cellassets.knowledge.annotations import Annotations

SAME_GENE, SAME_COMPOUND = "same gene", "same compound"


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of rows that sources call related; each pair is held in both directions, sorted by `first`."""

    sources: tuple[str, ...]
    first: Int[np.ndarray, "pair"]
    second: Int[np.ndarray, "pair"]
    source: Int[np.ndarray, "pair"]

    def of(self, row: int) -> dict[int, list[str]]:
        """Returns the rows that are known to be related to one, with the names of the sources."""
        start, end = np.searchsorted(self.first, [row, row + 1])
        found: dict[int, list[str]] = {}
        for other, source in zip(self.second[start:end].tolist(), self.source[start:end].tolist(), strict=True):
            found.setdefault(other, []).append(self.sources[source])
        return found


@dataclass(frozen=True)
class RowSets:
    """One annotation source as sets of rows.

    Attributes:
        kind: sets, targets or gene_arms.
        name: name of the source.
        background: rows that the source could know: those whose name it has anywhere.
        sets: rows of each set; sets without a row in the map are left out.
    """

    kind: str
    name: str
    background: Int[np.ndarray, "row"]
    sets: dict[str, Int[np.ndarray, "row"]]


def known_pairs(table: pl.DataFrame, names: Sequence[str], annotations: Annotations) -> KnownPairs:
    """Returns the known pairs among the rows of a map: of all sources, of one gene, and of one compound.

    Args:
        table: PERTURBATION_MAP rows.
        names: name of each row in annotations.
        annotations: sources of the kinds `pairs` and `targets`.
    """
    rows = pl.DataFrame({"name": names}, schema={"name": pl.String}).with_row_index("row")
    targets = {name: source.rename({"compound_id": "entity1", "gene_symbol": "entity2"}) for name, source
               in annotations.targets.items()}  # fmt: skip
    by_source: dict[str, pl.DataFrame] = {
        name: _as_rows(pairs, rows) for name, pairs in sorted({**annotations.pairs, **targets}.items())
    }
    for label, column in ((SAME_GENE, "gene_symbol"), (SAME_COMPOUND, "compound_id")):
        same = table.select(pl.col(column)).with_row_index("row").drop_nulls()
        pairs = same.join(same, on=column, suffix="_2").filter(pl.col("row") != pl.col("row_2"))
        by_source[label] = pairs.select(first="row", second="row_2")
    found = [pairs.with_columns(source=pl.lit(at, pl.Int32)) for at, pairs in enumerate(by_source.values())]
    sorted_pairs = pl.concat(found).sort("first", "second", "source")
    columns = (sorted_pairs[name].cast(pl.Int64).to_numpy() for name in ("first", "second", "source"))
    return KnownPairs(tuple(by_source), *columns)


def row_sets(names: Sequence[str], annotations: Annotations) -> list[RowSets]:
    """Returns the sources of sets, targets and chromosome arms as sets of rows.

    Args:
        names: name of each row in annotations.
        annotations: sources of the kinds `sets`, `targets` and `gene_arms`.
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault(name, []).append(row)
    return [_row_sets(source, rows_of) for source in set_sources(annotations)]


def _row_sets(source: SetSource, rows_of: Mapping[str, Sequence[int]]) -> RowSets:
    members = source.rows.filter(pl.col("member").is_in(list(rows_of))).sort("set_id", "member")
    sets = {
        set_id: np.array([row for name in group["member"] for row in rows_of[name]], dtype=np.int64)
        for (set_id,), group in members.group_by("set_id", maintain_order=True)
    }
    background = [row for name in members["member"].unique().sort() for row in rows_of[name]]
    return RowSets(source.kind, source.name, np.sort(np.array(background, dtype=np.int64)), sets)


def _as_rows(pairs: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of names as pairs of rows, in both directions."""
    joined = pairs.join(rows, left_on="entity1", right_on="name").join(
        rows, left_on="entity2", right_on="name", suffix="_2"
    )
    one_way = joined.select(first="row", second="row_2")
    return pl.concat([one_way, one_way.select(first="second", second="first")]).unique()
