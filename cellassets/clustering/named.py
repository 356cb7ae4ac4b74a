"""The names that annotations know among the rows of a map: genes and compounds, each once.

A compound has one row per dose, and a gene one per guide where the map is aggregated by perturbation. Such rows share a
name, and a name counts once in every cluster that holds one of its rows.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int, Shaped

from cellassets.mapping.relate import is_combination

KINDS = ("gene", "compound")


@dataclass(frozen=True)
class NamedRows:
    """Names, sorted by kind and name.

    Attributes:
        names: gene symbols and compounds.
        kind: gene or compound, of each name.
        stratum: names of one stratum are on the same plates.
        name_of_row: number of the name of each row of the map; -1 for combinations of genes and for other rows.
    """

    names: Shaped[np.ndarray, "name"]
    kind: Shaped[np.ndarray, "name"]
    stratum: Int[np.ndarray, "name"]
    name_of_row: Int[np.ndarray, "row"]


def named_rows(table: pl.DataFrame, stratum: Int[np.ndarray, "row"]) -> NamedRows:
    """Returns the names of the rows of a map.

    Args:
        table: PERTURBATION_MAP rows.
        stratum: of each row. Names are of one stratum if their rows are in the same ones.
    """
    is_gene = pl.col("perturbation_kind") == "gene"
    name = pl.when(is_gene).then("gene_symbol").otherwise("compound_id").fill_null(pl.col("perturbation_id"))
    rows = table.select(name.alias("name"), kind="perturbation_kind").with_row_index("row")
    known = [
        kind in KINDS and not (kind == "gene" and is_combination(found))
        for found, kind in rows.select("name", "kind").rows()
    ]
    named = rows.with_columns(pl.Series("stratum", stratum)).filter(pl.Series(known, dtype=pl.Boolean))
    grouped = named.group_by("kind", "name").agg("row", pl.col("stratum").unique().sort()).sort("kind", "name")
    name_of_row = np.full(table.height, -1)
    for number, members in enumerate(grouped["row"].to_list()):
        name_of_row[members] = number
    strata: dict[tuple[int, ...], int] = {}
    of_name = [strata.setdefault(tuple(found), len(strata)) for found in grouped["stratum"].to_list()]
    names, kinds = grouped["name"].to_numpy(), grouped["kind"].to_numpy()
    return NamedRows(names, kinds, np.array(of_name, dtype=np.int64), name_of_row)
