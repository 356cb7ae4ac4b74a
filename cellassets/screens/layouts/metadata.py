"""Reads the metadata of an experiment: tables are joined, and their columns become our terms.

Which tables and columns is declared in the layout. The result is checked here as far as a table can be checked alone;
`cellassets.screens.manifest` compares it with the images.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.landed import SOURCE
from cellassets.screens.layouts.definition import REQUIRED_TERMS, Layout, TableSpec, Term, TermName
from cellassets.screens.layouts.folders import BESIDE, find_tables, resolve_landed
from cellassets.screens.layouts.listed import read_load_data
from cellassets.screens.layouts.rules import check_terms, place_of
from cellassets.screens.notices import column_notes
from cellassets.tables.written import LINE

STEM = (
    "file_stem"  # column with the name of the file that a row is from, without its ending; tables can be joined on it
)
EXPERIMENT = "{experiment}"
JOINED_LINE, JOINED_SOURCE = "joined_line", "joined_file"
OWN = (LINE, STEM, SOURCE)  # columns that no file has
N_SHOWN = 5


@dataclass(frozen=True)
class MetadataTable:
    """The metadata of an experiment in our terms.

    Attributes:
        sites: one row per line of the first table: columns of a WELLS table, LINE, SOURCE, and `site_index`, which is
            null where the table describes wells. `plate_id` is null where it holds for all plates.
        nameless_lines: lines of a shared table that name no experiment.
        paths: the tables, relative to the experiment's folder.
        column_notes: columns of the first table that are not read and probably should be.
    """

    sites: pl.DataFrame
    nameless_lines: Sequence[int]
    paths: Sequence[str]
    column_notes: Sequence[str]


def read_metadata(landing: UPath, experiment_id: str, layout: Layout) -> MetadataTable:
    """Returns the metadata of an experiment.

    Raises:
        LayoutError: a table or a column is missing, or a cell cannot be read. The message names file, line and column.
    """
    folder = landing / experiment_id
    first, *others = layout.metadata.tables
    paths = find_tables(landing, experiment_id, first.path)
    if not paths:
        message = f"{folder / first.path[0]}: missing; the layout {layout.name} takes the wells from it; add the table"
        raise LayoutError(message)
    name = _shown(folder, paths)
    rows = pl.concat([_read(folder, path) for path in paths], how="diagonal")
    unread = column_notes(name, *_unread(layout, rows.columns))
    rows, nameless_lines = _of_experiment(rows, first, experiment_id, name, is_shared=paths[0].startswith(BESIDE))
    for table in others:
        found = find_tables(landing, experiment_id, table.path)
        if found:
            other = _shown(folder, found)
            joined = pl.concat([_read(folder, path) for path in found], how="diagonal")
            joined, _ = _of_experiment(joined, table, experiment_id, other, is_shared=True)
            rows = _join(rows, joined, table, layout, other)
            paths += found
        elif not table.optional:
            message = f"{folder / table.path[0]}: missing; the layout {layout.name} needs it; add the table"
            raise LayoutError(message)
    return MetadataTable(check_terms(_termed(rows, layout, name), layout), nameless_lines, paths, unread)


def _read(folder: UPath, path: str) -> pl.DataFrame:
    place = resolve_landed(folder, path)
    stem = path.rpartition("/")[2].rpartition(".")[0]
    table = read_load_data(place)
    if table.is_empty():
        message = f"{place}: a header and no row below it; copy the table again, or remove it"
        raise LayoutError(message)
    return table.with_columns(pl.lit(stem).alias(STEM), pl.lit(str(place)).alias(SOURCE))


def _unread(layout: Layout, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the columns of the first table that nothing reads, and those that would be read and are not there."""
    terms = [each for given in layout.metadata.terms.values() for each in given]
    read = {column for term in terms for column in (*term.columns, term.only_if_missing) if column is not None}
    read |= {column for table in layout.metadata.tables for column in (*table.where, *table.join_on)}
    there = [term for term in layout.metadata.terms if _has_column(layout, term, columns)]
    missing = [
        column
        for term, given in layout.metadata.terms.items()
        if term not in there
        for each in given
        for column in each.columns
    ]
    return [column for column in columns if column not in read and column not in OWN], missing


def _has_column(layout: Layout, term: TermName, columns: Sequence[str]) -> bool:
    return any(not each.columns or set(each.columns) <= set(columns) for each in layout.metadata.terms[term])


def _shown(folder: UPath, paths: Sequence[str]) -> str:
    """Returns the name of one table, or of the first of several, for messages."""
    more = f" (or one of {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{resolve_landed(folder, paths[0])}{more}"


def _of_experiment(
    rows: pl.DataFrame, table: TableSpec, experiment_id: str, name: str, *, is_shared: bool
) -> tuple[pl.DataFrame, list[int]]:
    """Returns the rows of one experiment, and the lines of which nobody knows whose they are."""
    nameless_lines: list[int] = []
    for column, value in table.where.items():
        if column not in rows.columns:
            shown = [found for found in rows.columns if found not in OWN]
            message = f"{name}: lacks the columns {[column]}; it has {shown}; add the column"
            raise LayoutError(message)
        empty = rows.filter(pl.col(column).is_null())
        if value == EXPERIMENT and empty.height and not is_shared:
            message = f"{place_of(empty)}: {column}: an empty cell ({empty.height} such lines); fill it"
            raise LayoutError(message)
        if value == EXPERIMENT:
            nameless_lines += empty[LINE].to_list()
        wanted = value.replace(EXPERIMENT, experiment_id)
        kept = rows.filter(pl.col(column) == wanted)
        if kept.is_empty():
            found = sorted(rows[column].unique().drop_nulls().to_list())[:N_SHOWN]
            message = f"{name}: no row with {column} {wanted}; its first are {found}; add the experiment's rows"
            raise LayoutError(message)
        rows = kept
    return rows, nameless_lines


def _join(rows: pl.DataFrame, joined: pl.DataFrame, table: TableSpec, layout: Layout, name: str) -> pl.DataFrame:
    left, right = list(table.join_on), list(table.join_on.values())
    before = f"{rows[SOURCE][0]}, with the tables joined to it,"
    for columns, found, what in ((left, rows.columns, before), (right, joined.columns, name)):
        missing = [column for column in columns if column not in found]
        if missing:
            shown = [column for column in found if column not in OWN][:12]
            message = (
                f"{what} lacks the column {missing[0]}, on which {table.path[0]} is joined; it has {shown}; rename the "
                "column, or correct join_on"
            )
            raise LayoutError(message)
    wells = {column for term in layout.metadata.terms["well_id"] for column in term.columns}
    for mine, theirs in table.join_on.items():
        if mine in wells:
            rows, joined = rows.with_columns(well_form(mine)), joined.with_columns(well_form(theirs))
    new = [column for column in joined.columns if column not in rows.columns or column in right]
    numbered = [pl.col(LINE).alias(JOINED_LINE), pl.col(SOURCE).alias(JOINED_SOURCE)]
    joined = joined.select(*new, *numbered).with_columns(pl.lit(value=True).alias("is_joined"))
    doubled = joined.filter(pl.struct(right).is_duplicated() & pl.all_horizontal(pl.col(right).is_not_null()))
    if doubled.height:
        same = doubled.filter(pl.all_horizontal(pl.col(column) == doubled[column][0] for column in right))
        values = {column: doubled[column][0] for column in right}
        lines = ", ".join(map(str, same[JOINED_LINE][:N_SHOWN]))
        message = (
            f"{doubled[JOINED_SOURCE][0]}: {values} stands in the lines {lines}; expected one for each "
            f"({doubled.height} such lines); remove the others"
        )
        raise LayoutError(message)
    rows = rows.join(joined, left_on=left, right_on=right, how="left")
    if not table.optional:
        _refuse_alone(rows, left, name)
    return rows.drop("is_joined", JOINED_LINE, JOINED_SOURCE)


def _refuse_alone(rows: pl.DataFrame, left: Sequence[str], name: str) -> None:
    """Raises a LayoutError if a row found no partner; a row without any key, such as an empty well's, needs none."""
    has_no_key = pl.all_horizontal(pl.col(left).is_null())
    alone = rows.filter(pl.col("is_joined").is_null() & ~has_no_key)
    if alone.height:
        values = {column: alone[column][0] for column in left}
        message = (
            f"{name}: no line for {values}, which {place_of(alone)} needs ({alone.height} such rows); add it, or "
            "remove the rows"
        )
        raise LayoutError(message)


def well_form(column: str) -> pl.Expr:
    """Returns a well's name in the form B07 whatever its form; other text stays as it is."""
    letters = pl.col(column).str.extract(r"^([A-Za-z]{1,2})0*[1-9][0-9]?$").str.to_uppercase()
    number = pl.col(column).str.extract(r"^[A-Za-z]{1,2}0*([1-9][0-9]?)$").str.zfill(2)
    return pl.coalesce(letters + number, column).alias(column)


def _termed(rows: pl.DataFrame, layout: Layout, name: str) -> pl.DataFrame:
    """Returns the rows with our terms as columns, all text, and the line of each."""
    terms = {
        term: [each for each in given if _is_there(each, rows, term, name, is_only=len(given) == 1)]
        for term, given in layout.metadata.terms.items()
    }
    kind = _first(terms.get("control_kind", []), rows)
    rows = rows.with_columns(kind.alias("control_kind_found"))
    columns = [_first(given, rows).alias(term) for term, given in terms.items() if term != "control_kind"]
    return rows.select(*columns, pl.col("control_kind_found").alias("control_kind"), LINE, STEM, SOURCE)


def _is_there(term: Term, rows: pl.DataFrame, name: str, source: str, *, is_only: bool) -> bool:
    missing = [column for column in term.columns if column not in rows.columns]
    if missing and (term.required or (is_only and name in REQUIRED_TERMS)):
        shown = [found for found in rows.columns if found not in OWN]
        message = f"{source}: lacks the columns {missing} ({name}); it has {shown}; add or rename the column"
        raise LayoutError(message)
    if not missing and term.required:
        for column in term.columns:
            empty = rows.filter(pl.col(column).is_null())
            if empty.height:
                message = f"{place_of(empty)}: {column}: an empty cell ({empty.height} such lines); fill it"
                raise LayoutError(message)
    return not missing


def _first(alternatives: Sequence[Term], rows: pl.DataFrame) -> pl.Expr:
    if not alternatives:
        return pl.lit(None, dtype=pl.String)
    return pl.coalesce([_expression(term, rows) for term in alternatives])


def _expression(term: Term, rows: pl.DataFrame) -> pl.Expr:
    if term.format is not None:
        text = term.format
        for column in term.columns:
            text = text.replace(f"{{{column}}}", "{}")
        found: pl.Expr = pl.format(text, *(pl.col(column) for column in term.columns))
    else:
        found = pl.lit(term.value, dtype=pl.String) if term.column is None else pl.col(term.column)
    if term.values is not None:
        found = _translated(found, term, rows)
    if term.only_if_missing is not None and term.only_if_missing in rows.columns:
        found = pl.when(pl.col(term.only_if_missing).is_null()).then(found)
    if term.only_for is not None:
        is_control = pl.col("control_kind_found").is_not_null()
        found = pl.when(is_control if term.only_for == "controls" else ~is_control).then(found)
    return found


def _translated(found: pl.Expr, term: Term, rows: pl.DataFrame) -> pl.Expr:
    """Returns what the values of a term mean; a value without a meaning is refused, kept, or left out."""
    values: Mapping[str, str | None] = term.values or {}
    present = (
        rows.select(found.alias("value"), LINE, SOURCE)
        .drop_nulls("value")
        .unique("value", keep="first")
        .sort(SOURCE, LINE)
    )
    meaning: dict[str, str | None] = {}
    for value, line, source in present.rows():
        key = next((key for key in values if _fits(value, key)), None)
        if key is not None:
            meaning[value] = values[key]
        elif term.others == "keep":
            meaning[value] = value
        elif term.others == "refuse":
            message = (
                f"{source}, line {line}: {', '.join(term.columns)}: expected {list(values)}; found {value!r}; correct "
                "it, or say in experiment.yaml what it means"
            )
            raise LayoutError(message)
    return found.replace_strict(meaning, default=None, return_dtype=pl.String) if meaning else pl.lit(None, pl.String)


def _fits(value: str, key: str) -> bool:
    return fnmatch.fnmatchcase(value, key) if "*" in key else value == key
