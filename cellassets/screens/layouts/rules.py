"""Rules that the metadata of every screen must meet, whatever its layout: each cell that a well needs, in its form."""

from collections.abc import Mapping

import polars as pl

from cellassets.errors import LayoutError
from cellassets.fingerprint import KEY_PATTERN
from cellassets.screens.landed import EMPTY, PAIR_SEPARATOR, SOURCE
from cellassets.screens.layouts.definition import REQUIRED_TERMS, Layout
from cellassets.tables.written import LINE

CONTROL_KINDS = ("positive", "negative", "untreated")
KINDS = ("gene", "compound", "control")
TERMS = (
    "plate_id", "well_id", "site_index", "cell_type", "perturbation_id", "perturbation_kind", "gene_symbol", "guide_id",
    "compound_id", "concentration_um", "control_kind",
)  # fmt: skip
NUMBER = "[0-9]{1,5}"
IS_KEY = f"^(?:{KEY_PATTERN.pattern})$"


def check_terms(rows: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Returns the rows with the columns of a WELLS table in their types, `site_index`, LINE and SOURCE.

    Args:
        rows: our terms as columns of text, LINE and SOURCE.
        layout: says which columns the terms are from.

    Raises:
        LayoutError: a cell is empty or not in its form. The message names file and line.
    """
    rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias(term) for term in TERMS if term not in rows.columns)
    is_untreated = pl.col("perturbation_id").is_null() & (pl.col("control_kind") == "untreated")
    rows = rows.with_columns(
        pl.when(is_untreated).then(pl.lit(EMPTY)).otherwise("perturbation_id").alias("perturbation_id")
    )
    labels = {term: _label(layout, term) for term in TERMS}
    for term in REQUIRED_TERMS:
        _refuse(rows, pl.col(term).is_null(), f"{labels[term]}: an empty cell; fill it")
    _check_names(rows, labels)
    _check_numbers(rows, labels)
    is_control = pl.col("control_kind").is_not_null()
    kind = pl.when(is_control).then(pl.lit("control")).otherwise(pl.coalesce("perturbation_kind", pl.lit("gene")))
    return rows.select(
        pl.col(term)
        if term not in ("perturbation_kind", "site_index", "concentration_um")
        else {
            "perturbation_kind": kind.alias(term),
            "site_index": pl.col(term).cast(pl.Int32),
            "concentration_um": pl.col(term).cast(pl.Float64),
        }[term]
        for term in (*TERMS, LINE, SOURCE)
    )


def _check_names(rows: pl.DataFrame, labels: Mapping[str, str]) -> None:
    plate = (
        f"{labels['plate_id']}: it names a file, so use letters, digits, '_', '-' and single '.' only; where folders "
        "have other names, put their constant text into the template of the images, as in Plate {plate}/..."
    )
    _refuse(rows, ~_is_key("plate_id"), plate)
    cell_type = f"{labels['cell_type']}: it names a dataset, so use letters, digits, '_', '-' and single '.' only"
    _refuse(rows, ~_is_key("cell_type"), cell_type)
    _refuse(
        rows,
        ~pl.col("control_kind").is_in(CONTROL_KINDS),
        f"{labels['control_kind']}: expected {list(CONTROL_KINDS)}; correct it",
    )
    _refuse(
        rows,
        ~pl.col("perturbation_kind").is_in(KINDS),
        f"{labels['perturbation_kind']}: expected {list(KINDS)}; correct it",
    )
    for name in ("perturbation_id", "gene_symbol"):
        is_bad = pl.col(name).str.contains(PAIR_SEPARATOR, literal=True)
        what = f"{labels[name]}: {PAIR_SEPARATOR!r} separates the two genes of a pair; use another character"
        _refuse(rows, is_bad, what)


def _check_numbers(rows: pl.DataFrame, labels: Mapping[str, str]) -> None:
    is_site = pl.col("site_index").str.contains(rf"^{NUMBER}$") & ~pl.col("site_index").str.contains("^0+$")
    _refuse(rows, ~is_site, f"{labels['site_index']}: expected a number from 1 to 99999; correct it")
    concentration, name = pl.col("concentration_um").cast(pl.Float64, strict=False), labels["concentration_um"]
    is_number = concentration.is_finite() & (concentration >= 0)
    is_bad = pl.col("concentration_um").is_not_null() & ~is_number.fill_null(value=False)
    _refuse(rows, is_bad, f"{name}: expected a number of at least 0, with a decimal point; correct it")
    doses = concentration.drop_nulls().n_unique().over("perturbation_id")
    what = f"{name}: one perturbation at several concentrations would be averaged; give each its own name"
    _refuse(rows, doses > 1, what)
    has_dose = pl.col("concentration_um").is_not_null()
    some = has_dose.any().over("perturbation_id") & ~has_dose & pl.col("control_kind").is_null()
    what = f"{name}: empty, and other lines of this perturbation have one; fill it, or give the perturbation a new name"
    _refuse(rows, some, what)


def _label(layout: Layout, term: str) -> str:
    """Returns the names of the columns that a term is from, as people know them."""
    given = layout.metadata.terms.get(term, ())  # type: ignore[call-overload]
    columns = given[0].columns if given else ()
    return ", ".join(columns) or term


def _is_key(name: str) -> pl.Expr:
    return pl.col(name).str.contains(IS_KEY) & ~pl.col(name).str.contains("..", literal=True)


def place_of(rows: pl.DataFrame) -> str:
    """Returns table and line of the first of some rows, for messages."""
    return f"{rows[SOURCE][0]}, line {rows[LINE][0]}"


def _refuse(rows: pl.DataFrame, is_bad: pl.Expr, what: str) -> None:
    """Raises a LayoutError that names the first line where `is_bad` is true."""
    bad = rows.filter(is_bad)
    if bad.height:
        first = bad.row(0, named=True)
        shown = {name: value for name, value in first.items() if value is not None and name in TERMS}
        message = f"{place_of(bad)}: {what}; found {shown} ({bad.height} such lines)"
        raise LayoutError(message)
