"""Selections of wells: which wells of an experiment a dataset keeps, and the fingerprint of exactly these wells.

A dataset selects wells by cell type and by kind of perturbation. The fingerprints of all likely selections are computed
once per manifest and stored in its summary, so that a dataset can be planned without reading `wells.parquet`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import polars as pl

from cellassets.tables.content import frame_fingerprint

# The columns that identify a well for a benchmark. Image files and their checksums are not among them.
FINGERPRINT_COLUMNS = (
    "experiment_id",
    "plate_id",
    "well_id",
    "cell_type",
    "perturbation_id",
    "perturbation_kind",
    "gene_symbol",
    "guide_id",
    "compound_id",
    "concentration_um",
    "control_kind",
)
MAX_TYPES_FOR_ALL_SUBSETS = 3
EVERYTHING = "*"
KIND_SELECTIONS: tuple[tuple[str, ...] | None, ...] = (None, ("gene",), ("compound",), ("compound", "gene"))


def selected_wells(
    wells: pl.DataFrame, cell_types: Sequence[str] | None, perturbation_kinds: Sequence[str] | None
) -> pl.DataFrame:
    """Returns the rows of a WELLS table that a selection keeps, in their order.

    Args:
        wells: WELLS table of one experiment.
        cell_types: cell types to keep; None keeps all.
        perturbation_kinds: kinds of perturbation to keep, "gene" or "compound"; None keeps all. Controls are kept
            whatever their kind.
    """
    if cell_types is not None:
        wells = wells.filter(pl.col("cell_type").is_in(cell_types))
    if perturbation_kinds is not None:
        is_wanted = pl.col("perturbation_kind").is_in(perturbation_kinds)
        wells = wells.filter(is_wanted | pl.col("control_kind").is_not_null())
    return wells


def wells_fingerprint_of(
    wells: pl.DataFrame, cell_types: Sequence[str] | None, perturbation_kinds: Sequence[str] | None
) -> str:
    """Returns the fingerprint of the wells that a selection keeps, computed from the WELLS table."""
    return frame_fingerprint(selected_wells(wells, cell_types, perturbation_kinds).select(FINGERPRINT_COLUMNS))


def selection_key(cell_types: Sequence[str] | None, perturbation_kinds: Sequence[str] | None) -> str:
    """Returns the canonical name of a selection, such as `HUVEC+U2OS|gene`; `*` stands for everything.

    The order of the names and repeated names make no difference. Cell types are not reduced to those of an experiment
    here: use `reduced_cell_types` first.
    """
    return f"{_joined(cell_types)}|{_joined(perturbation_kinds)}"


def reduced_cell_types(cell_types: Sequence[str] | None, own: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the selected cell types that an experiment has, sorted; None where these are all of its own.

    Args:
        cell_types: cell types that are selected; None selects all.
        own: cell types of the experiment.
    """
    kept = set(own) if cell_types is None else set(cell_types) & set(own)
    return None if kept == set(own) else tuple(sorted(kept))


def selection_fingerprints(wells: pl.DataFrame) -> dict[str, str]:
    """Returns the fingerprint of the wells of every likely selection, by `selection_key`.

    The selections are those of the experiment's own cell types (every subset where it has at most 3; otherwise each
    type alone and all together) combined with: any kind of perturbation, genes, compounds, genes and compounds.
    """
    own = sorted(wells["cell_type"].unique().to_list())
    return {
        selection_key(cell_types, kinds): wells_fingerprint_of(wells, cell_types, kinds)
        for cell_types in _type_selections(own)
        for kinds in KIND_SELECTIONS
    }


def find_fingerprint(
    fingerprints: Mapping[str, str],
    own_cell_types: Sequence[str],
    *,
    cell_types: Sequence[str] | None,
    perturbation_kinds: Sequence[str] | None,
) -> str | None:
    """Returns the stored fingerprint of a selection; None where it is not stored and must be computed from the table.

    Args:
        fingerprints: what `selection_fingerprints` returned for the experiment.
        own_cell_types: cell types of the experiment.
        cell_types: cell types that are selected; None selects all.
        perturbation_kinds: kinds of perturbation that are selected; None selects all.
    """
    return fingerprints.get(selection_key(reduced_cell_types(cell_types, own_cell_types), perturbation_kinds))


def _type_selections(own: Sequence[str]) -> Iterator[tuple[str, ...] | None]:
    sizes = range(1, len(own)) if len(own) <= MAX_TYPES_FOR_ALL_SUBSETS else (1,)
    for size in sizes:
        yield from combinations(own, size)
    yield None


def _joined(names: Sequence[str] | None) -> str:
    return EVERYTHING if names is None else "+".join(sorted(set(names)))
