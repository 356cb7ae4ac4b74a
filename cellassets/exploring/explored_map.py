"""One map with everything that is published about it, and the questions that people ask of it.

Vectors and tables are held in memory: 20,000 perturbations of 1,024 dimensions are 80 MB, their wells a multiple of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int

from cellassets.exploring.guides import guide_rows
from cellassets.exploring.known_relations import KnownPairs, RowSets, known_pairs, row_sets
from cellassets.exploring.names import known_names, row_named
from cellassets.exploring.neighbours import NO_HITS, NOT_ACTIVE, Similarities, similarities
from cellassets.exploring.replicates import replicate_wells
from cellassets.exploring.selection import enriched_sets
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import AggregateBy, unit_labels
from cellassets.mapping.relate import unit_rows
from cellassets.tables.parquet import vectors
from cellassets.tables.schemas import CLUSTERS, HITS, LOWEST_ACTIVE_DOSES, MAP_POINTS

Row = int | str
Wells = tuple[pl.DataFrame, Float32[np.ndarray, "well feature"]]
NEIGHBOUR_SCHEMA: pl.Schema = pl.Schema({
    "perturbation_id": pl.String(), "cosine": pl.Float64(), "p_value": pl.Float64(), "q_value": pl.Float64(),
    "known": pl.List(pl.String),
})  # fmt: skip
DOSE_COLUMNS = (
    "perturbation_id", "concentration_um", "n_wells", "distance_sd", "distance_sd_low", "distance_sd_high",
    "activity_q_value", "is_active",
)  # fmt: skip


@dataclass(frozen=True)
class ExploredMap:
    """One map and what is published about it.

    Attributes:
        table: PERTURBATION_MAP rows; a `row` is a place in it.
        read_wells: returns the aligned WELL_EMBEDDINGS rows without their vectors, and the vectors; called when a
            question needs them.
        aggregate_by: what the wells of one row share.
        hits: HITS rows; without rows where none are published.
        lowest_active_doses: LOWEST_ACTIVE_DOSES rows.
        clusters: CLUSTERS rows.
        points: MAP_POINTS rows: places in the plane, and how much wells agree.
        annotations: sources of all kinds.
    """

    table: pl.DataFrame
    read_wells: Callable[[], Wells]
    aggregate_by: AggregateBy = "gene"
    hits: pl.DataFrame = field(default_factory=HITS.empty)
    lowest_active_doses: pl.DataFrame = field(default_factory=LOWEST_ACTIVE_DOSES.empty)
    clusters: pl.DataFrame = field(default_factory=CLUSTERS.empty)
    points: pl.DataFrame = field(default_factory=MAP_POINTS.empty)
    annotations: Annotations = field(default_factory=Annotations)

    @cached_property
    def unit(self) -> Float32[np.ndarray, "row feature"]:
        """The vectors, scaled to length 1."""
        return unit_rows(vectors(self.table)).astype(np.float32)

    @cached_property
    def perturbation_ids(self) -> list[str]:
        """The perturbation_id of each row."""
        return self.table["perturbation_id"].to_list()

    @cached_property
    def names(self) -> list[str]:
        """The gene or compound of each row, as annotations name it."""
        return known_names(self.table)

    @cached_property
    def pairs(self) -> KnownPairs:
        """The known relations between rows."""
        return known_pairs(self.table, self.names, self.annotations)

    @cached_property
    def sets(self) -> list[RowSets]:
        """The annotated sets as sets of rows."""
        return row_sets(self.names, self.annotations)

    @cached_property
    def is_control(self) -> Bool[np.ndarray, "row"]:
        """Rows that are controls."""
        return self.table["control_kind"].is_not_null().to_numpy()

    @cached_property
    def is_active(self) -> Bool[np.ndarray, "row"]:
        """Rows that are active; no row is where no hits are published."""
        active = set(self.hits.filter("is_active")["perturbation_id"])
        return np.array([name in active for name in self.perturbation_ids], dtype=bool)

    @cached_property
    def wells(self) -> Wells:
        """The aligned wells without their vectors, and the vectors."""
        return self.read_wells()

    @cached_property
    def _wells_by_row(self) -> tuple[Int[np.ndarray, "well"], Int[np.ndarray, "row_end"]]:
        """The places of the wells, sorted by the row that they belong to, and where each row begins among them."""
        places = {name: row for row, name in enumerate(self.perturbation_ids)}
        rows = np.array([places.get(label, -1) for label in unit_labels(self.wells[0], self.aggregate_by)])
        order = np.argsort(rows, kind="stable")
        return order, np.searchsorted(rows[order], np.arange(self.table.height + 1))

    def row(self, name: Row) -> int:
        """Returns the row that a name stands for.

        Raises:
            DatasetError: the map has no such row, or several.
        """
        return name if isinstance(name, int) else row_named(self.table, name)

    def why_not_tested(self, row: int) -> str | None:
        """Returns why a row has no p-values; None where it has."""
        if self.hits.is_empty():
            return NO_HITS
        return None if self.is_active[row] else NOT_ACTIVE

    def similarities(self, name: Row, n_neighbours: int = 50) -> Similarities:
        """Returns the similarity of one perturbation to all rows.

        Raises:
            DatasetError: the map has no such perturbation.
        """
        return similarities(
            self.unit,
            self.row(name),
            is_compared=~self.is_control,
            is_tested=self.is_active & ~self.is_control,
            n_neighbours=n_neighbours,
        )

    def neighbours(self, name: Row, n_neighbours: int = 10, *, opposite: bool = False) -> pl.DataFrame:
        """Returns the perturbations that are most similar to one, most similar first.

        Columns: perturbation_id, cosine, p_value (two-sided, against the map's own null distribution), q_value, and
        `known`: the annotation sources in which the two are related. Only active perturbations have p-values.

        Args:
            name: a perturbation_id, or a gene or compound with one row.
            n_neighbours: maximum number of rows.
            opposite: return those with the most opposite direction instead.

        Raises:
            DatasetError: the map has no such perturbation, or several of this name.
        """
        row = self.row(name)
        found = self.similarities(row, n_neighbours)
        rows = found.opposite if opposite else found.nearest
        known = self.pairs.of(row)
        columns = {
            "perturbation_id": [self.perturbation_ids[other] for other in rows],
            "cosine": found.cosine[rows],
            "p_value": found.p_value[rows],
            "q_value": found.q_value[rows],
            "known": [known.get(int(other), []) for other in rows],
        }
        return pl.DataFrame(columns, schema=NEIGHBOUR_SCHEMA).with_columns(pl.col("p_value", "q_value").fill_nan(None))

    def replicates(self, name: Row) -> pl.DataFrame:
        """Returns the wells of a perturbation, with the mean cosine of each to the others.

        Raises:
            DatasetError: the map has no such perturbation, or several of this name.
        """
        return replicate_wells(*self._wells_of(self.row(name)))

    def guides(self, name: Row) -> pl.DataFrame:
        """Returns the guides of a gene: number of wells, their agreement, and the cosine to the other guides.

        Raises:
            DatasetError: the map has no such perturbation, or several of this name.
        """
        return guide_rows(*self._wells_of(*self._same("gene_symbol", self.row(name))))

    def doses(self, name: Row) -> pl.DataFrame:
        """Returns the doses of the compound of a row, lowest first; without rows where it is not a compound.

        Raises:
            DatasetError: the map has no such perturbation, or several of this name.
        """
        doses = self.table[self._same("compound_id", self.row(name))]
        joined = doses.select("perturbation_id", "concentration_um", "n_wells").join(
            self.hits.drop("concentration_um", "n_wells"), on="perturbation_id", how="left"
        )
        return joined.select(DOSE_COLUMNS).sort("concentration_um", nulls_last=True)

    def cosines(self, names: Sequence[Row]) -> Float32[np.ndarray, "row row"]:
        """Returns the cosine of every pair of some perturbations, in their order.

        Raises:
            DatasetError: the map has no perturbation of one of these names, or several.
        """
        chosen = self.unit[[self.row(name) for name in names]]
        return np.clip(chosen @ chosen.T, -1.0, 1.0)

    def enriched(self, names: Sequence[Row]) -> pl.DataFrame:
        """Returns the annotated sets with members among some perturbations, smallest p-value first.

        Raises:
            DatasetError: the map has no perturbation of one of these names, or several.
        """
        rows = np.array([self.row(name) for name in names], dtype=np.int64)
        return enriched_sets(rows, self.sets, self.perturbation_ids)

    def _same(self, column: str, row: int) -> list[int]:
        """The rows that have the same gene or compound as one; none where it has none."""
        value = self.table[column][row]
        if value is None:
            return []
        is_same = (pl.col(column) == value) & pl.col("control_kind").is_null()
        return self.table.with_row_index("row").filter(is_same)["row"].to_list()

    def _wells_of(self, *rows: int) -> Wells:
        order, starts = self._wells_by_row
        chosen = np.concatenate([order[:0], *(order[starts[row] : starts[row + 1]] for row in rows)])
        wells, values = self.wells
        return wells[chosen], values[chosen]
