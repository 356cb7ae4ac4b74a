"""How much of an annotation source applies to a dataset: its names in the source, and the source's rows."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from cellassets.knowledge.annotation_files import COLUMNS, Source

# our column of each kind that holds compounds; all others hold genes, except the names of sets and arms
COMPOUNDS, NOT_NAMES = "compound_id", ("set_id", "chromosome_arm")


@dataclass(frozen=True)
class Coverage:
    """One source beside one dataset.

    Attributes:
        n_names: genes (and for targets compounds) of the dataset.
        n_covered: those that the source names.
        n_rows: rows of the source of which the dataset has all names.
        in_other_case: names of the dataset that the source has in other upper and lower case only; they do not count.
    """

    n_names: int
    n_covered: int
    n_rows: int
    in_other_case: tuple[str, ...]


def coverage(source: Source, genes: Collection[str], compounds: Collection[str] = ()) -> Coverage:
    """Returns how much of a source applies to a dataset. Names count only where they are equal to the letter.

    Args:
        source: the source.
        genes: gene symbols of the dataset.
        compounds: compounds of the dataset.
    """
    own = {column: set(compounds if column == COMPOUNDS else genes) for column in _name_columns(source)}
    named = {column: set(source.rows[column].to_list()) for column in own}
    names = set().union(*own.values())
    everything = set().union(*named.values())
    folded = {name.casefold() for name in everything}
    is_whole = pl.all_horizontal(pl.col(column).is_in(list(names_)) for column, names_ in own.items())
    return Coverage(
        n_names=len(names),
        n_covered=len(names & everything),
        n_rows=source.rows.filter(is_whole).height,
        in_other_case=tuple(sorted(name for name in names - everything if name.casefold() in folded)),
    )


def _name_columns(source: Source) -> list[str]:
    return [column for column in COLUMNS[source.kind] if column not in NOT_NAMES]
