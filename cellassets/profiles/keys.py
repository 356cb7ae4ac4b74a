"""From the names in a table to experiment_id, plate_id, well_id and site_index, and one row per well or site."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from cellassets.errors import LayoutError, ProfilesError
from cellassets.profiles.declaration import ProfilesSpec, RowKind
from cellassets.screens.well import GEOMETRIES, normalise_well, well_place

IDS = ["experiment_id", "plate_id", "well_id", "site_index"]
IS_CONTROL = "is_control"
Row = Mapping[str, str | None]
N_NAMED = 5


@dataclass(frozen=True)
class NamesInTable:
    """Experiments and plates of the rows that were read, as the table calls them."""

    experiments: set[str] = field(default_factory=set)
    plates: set[str] = field(default_factory=set)

    def add(self, raw: pl.DataFrame, spec: ProfilesSpec) -> None:
        """Adds those of different rows of key columns."""
        column = spec.keys.experiment_id
        self.experiments.update([str(spec.experiment)] if column is None else raw[column].unique())
        self.plates.update(raw[spec.keys.plate_id].unique())

    def refuse_unused(self, path: Path, spec: ProfilesSpec) -> None:
        """Returns nothing if each name that the declaration translates is in the table.

        Raises:
            ProfilesError: no row has one of them.
        """
        translated = (("experiment_id", spec.names.experiment_id), ("plate_id", spec.names.plate_id))
        for (key, names), found in zip(translated, (self.experiments, self.plates), strict=True):
            unused = [name for name in names if name not in found]
            if unused:
                message = (
                    f"{path}: names: {key}: no row of the table has {_some(unused)}; the table has "
                    f"{_some(sorted(found))}. Expected `name in the table: name here`; correct the name on the left, "
                    "or remove the entry"
                )
                raise ProfilesError(message)


def identified(path: Path, raw: pl.DataFrame, spec: ProfilesSpec) -> pl.DataFrame:
    """Returns the ids of different rows of key columns: `IDS`, `IS_CONTROL`, and the columns by their `raw_name`.

    Args:
        path: the file, for messages.
        raw: different rows of the columns that `key_names` lists, as text.
        spec: what the columns mean.

    Raises:
        ProfilesError: a name is missing, or is not the name of a well or a site; the message shows the row.
    """
    rows = [_ids(path, row, spec) for row in raw.iter_rows(named=True)]
    types = {**dict.fromkeys(IDS[:3], pl.String), IDS[3]: pl.Int32, IS_CONTROL: pl.Boolean}
    return raw.rename(raw_name).hstack(pl.DataFrame(rows, schema=types, orient="row"))


def key_names(spec: ProfilesSpec) -> list[str]:
    """Returns the columns of the table that are read as text: those of names, and that of the controls."""
    keys = (spec.keys.experiment_id, spec.keys.plate_id, spec.keys.well_id, spec.keys.site_index)
    controls = () if spec.controls is None else (spec.controls.column,)
    return list(dict.fromkeys(name for name in (*keys, *controls) if name is not None))


def raw_name(column: str) -> str:
    """Returns the name of a key column beside the ids, which may have the same name."""
    return f"raw {column}"


def as_text(name: str, dtype: object) -> pl.Expr:
    """Returns a key column as text, under its `raw_name`: 3 and 3.0 become '3'."""
    column = pl.col(name)
    if dtype in (pl.Float32, pl.Float64):
        whole = column.cast(pl.Int64, strict=False)
        is_whole = whole.cast(pl.Float64) == column.cast(pl.Float64)
        column = pl.when(is_whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
    return column.cast(pl.String).str.strip_chars().alias(raw_name(name))


def one_row_each(path: Path, frame: pl.DataFrame, kind: RowKind) -> pl.DataFrame:
    """Returns the rows, sorted by experiment, plate, well and site, if there is one of each.

    Args:
        path: the file, for messages.
        frame: rows with the columns `IDS`.
        kind: what the rows of the table are, for the advice.

    Raises:
        ProfilesError: several rows are of the same well or site.
    """
    doubled = frame.group_by(IDS).len().filter(pl.col("len") > 1).sort(IDS, nulls_last=True)
    if doubled.height:
        first = doubled.row(0, named=True)
        advice = {
            "well": "or declare rows: site or rows: cell",
            "site": "or declare rows: cell",
            "cell": "or keep all cells of a well in one file",
        }[kind]
        message = (
            f"{path}: {first['len']} rows for {place(first)} ({doubled.height} such places); expected one row each. "
            f"Remove the others, {advice}"
        )
        raise ProfilesError(message)
    return frame.sort(IDS, nulls_last=True)


def place(row: Mapping[str, object]) -> str:
    """Returns experiment, plate, well and, where there is one, site of a row, for people."""
    site = "" if row["site_index"] is None else f", site {row['site_index']}"
    return f"experiment {row['experiment_id']}, plate {row['plate_id']}, well {row['well_id']}{site}"


def _ids(path: Path, row: Row, spec: ProfilesSpec) -> tuple[str, str, str, int | None, bool]:
    keys = spec.keys
    for name in (keys.experiment_id, keys.plate_id, keys.well_id, keys.site_index):
        if name is not None and not row[name]:
            message = f"{path}, column {name}: a row without a value ({_shown(row)}); expected one in every row"
            raise ProfilesError(message)
    experiment = spec.experiment if keys.experiment_id is None else row[keys.experiment_id]
    plate = row[keys.plate_id]
    is_control = spec.controls is not None and row[spec.controls.column] in spec.controls.values
    return (
        spec.names.experiment_id.get(str(experiment), str(experiment)),
        spec.names.plate_id.get(str(plate), str(plate)),
        _well(path, row, keys.well_id),
        None if keys.site_index is None else _site(path, row, keys.site_index),
        is_control,
    )


def _well(path: Path, row: Row, column: str) -> str:
    try:
        well_id = normalise_well(str(row[column]))
    except LayoutError as error:
        message = f"{path}, column {column}: {error} ({_shown(row)}); correct the name in the table"
        raise ProfilesError(message) from error
    most = GEOMETRIES[-1]
    if any(found >= limit for found, limit in zip(well_place(well_id), most, strict=True)):
        message = (
            f"{path}, column {column}: well {row[column]!r} is on no plate: the largest one has {most[0]} rows and "
            f"{most[1]} columns, A01 to AF48 ({_shown(row)}); correct the name in the table"
        )
        raise ProfilesError(message)
    return well_id


def _site(path: Path, row: Row, column: str) -> int:
    text = str(row[column])
    if not text.isdecimal():
        message = f"{path}, column {column}: site {text!r} is not a number ({_shown(row)}); expected 1, 2, ..."
        raise ProfilesError(message)
    return int(text)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(map(repr, names[:N_NAMED])) + more


def _shown(row: Row) -> str:
    return ", ".join(f"{name} = {value}" for name, value in row.items())
