"""The names under which people and annotations know the rows of a map."""

import difflib
from collections.abc import Sequence

import polars as pl

from cellassets.errors import DatasetError

N_SUGGESTED = 5


def known_names(table: pl.DataFrame) -> list[str]:
    """Returns the name of each row in annotations: its gene or its compound, otherwise its perturbation_id.

    Args:
        table: PERTURBATION_MAP rows.
    """
    is_gene = pl.col("perturbation_kind") == "gene"
    name = pl.when(is_gene).then("gene_symbol").otherwise("compound_id").fill_null(pl.col("perturbation_id"))
    return table.select(name).to_series().to_list()


def row_named(table: pl.DataFrame, name: str) -> int:
    """Returns the row that a person asks for, by perturbation_id, or by a gene or compound that has one row.

    Args:
        table: PERTURBATION_MAP rows.
        name: such as TP53, or aspirin@10.

    Raises:
        DatasetError: the map has no such row, or several guides or doses of it; the message names them.
    """
    exact = [row for row, found in enumerate(table["perturbation_id"]) if found == name]
    if exact:
        return exact[0]
    rows = [row for row, found in enumerate(known_names(table)) if found == name]
    if len(rows) == 1:
        return rows[0]
    ids = table["perturbation_id"].to_list()
    if rows:
        message = f"{name!r} has {len(rows)} rows in this map; choose one of {[ids[row] for row in rows[:20]]}"
    else:
        message = (
            f"no perturbation {name!r} in this map; {_suggestion(name, [*ids, *known_names(table)])}choose one of its "
            f"{len(ids)} perturbations, such as {ids[:N_SUGGESTED]}"
        )
    raise DatasetError(message)


def _suggestion(name: str, known: Sequence[str]) -> str:
    by_case = {found.casefold(): found for found in known}
    close = difflib.get_close_matches(name.casefold(), by_case, n=N_SUGGESTED)
    return f"did you mean {' or '.join(by_case[found] for found in close)}? Otherwise " if close else ""
