"""The compounds of a map: one row per compound and dose, without controls, and their similarities to genes."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.judged import JudgedMap
from cellassets.mapping.relate import unit_rows
from cellassets.tables.parquet import vectors

N_DIGITS = 12  # equal vectors have equal cosines, whatever the order of the sums


@dataclass(frozen=True)
class MapCompounds:
    """Compounds sorted by name; rows are doses, those of one compound adjacent and sorted by their names.

    Attributes:
        names: of the compounds.
        compound: number of each row's compound.
        concentration_um: of each row; NaN where it is not known.
        vectors: one per row.
        n_wells: wells of each compound, over all doses.
    """

    names: list[str]
    compound: Int[np.ndarray, "row"]
    concentration_um: Float[np.ndarray, "row"]
    vectors: Float[np.ndarray, "row feature"]
    n_wells: Int[np.ndarray, "compound"]

    def similarities(self, genes: Float[np.ndarray, "gene feature"]) -> Float[np.ndarray, "row gene"]:
        """Returns |cosine| between every row and every gene."""
        return np.round(np.abs(unit_rows(self.vectors) @ unit_rows(genes).T), N_DIGITS)

    def largest(self, of_rows: Float[np.ndarray, "row gene"]) -> Float[np.ndarray, "compound gene"]:
        """Returns the largest similarity over the doses of each compound."""
        return np.maximum.reduceat(of_rows, np.searchsorted(self.compound, np.arange(len(self.names))), axis=0)


def map_compounds(judged: JudgedMap) -> MapCompounds:
    """Returns the compounds of a map; there may be none."""
    rows = judged.map_table.filter(
        (pl.col("perturbation_kind") == "compound")
        & pl.col("control_kind").is_null()
        & pl.col("compound_id").is_not_null()
    ).sort("compound_id", "perturbation_id")
    names, compound = np.unique(rows["compound_id"].to_numpy().astype(str), return_inverse=True)
    return MapCompounds(
        names=names.tolist(),
        compound=compound,
        concentration_um=rows["concentration_um"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        vectors=vectors(rows),
        n_wells=np.bincount(compound, rows["n_wells"].to_numpy(), minlength=len(names)).astype(np.int64),
    )


def known_targets(judged: JudgedMap) -> pl.DataFrame:
    """Returns compound_id and gene_symbol of the known targets of all sources, each once; there may be none."""
    schema = {"compound_id": pl.String, "gene_symbol": pl.String}
    tables = [rows.select(*schema) for rows in judged.annotations.targets.values()]
    return pl.concat([pl.DataFrame(schema=schema), *tables]).unique().sort(*schema)
