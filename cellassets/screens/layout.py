"""RxRx1's layout on disk: `<experiment>/Plate<n>/<well>_s<site>_w<channel>.png` and `metadata.csv`.

This file lists image files and reads the metadata table. It does not read images: `cellassets.screens.manifest` does.
Another layout would be another module with `list_images` and `read_metadata`.
"""

import re
from dataclasses import dataclass

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.fingerprint import KEY_PATTERN
from cellassets.screens.landing import MARKER, METADATA, REASONS
from cellassets.screens.landing_files import list_entries
from cellassets.screens.well import normalise_well
from cellassets.storage.paths import resolve_below
from cellassets.tables.written import LINE, read_written

NUMBER = "[0-9]{1,5}"  # of a site or a channel
IMAGE_NAME = re.compile(rf"(?P<well>[^_]+)_s(?P<site>{NUMBER})_w(?P<channel>{NUMBER})\.png")
PLATE_NAME = re.compile(r"Plate[0-9]+")
REQUIRED = ("cell_type", "experiment", "plate", "well", "site", "well_type", "sirna")
OPTIONAL = ("perturbation_kind", "gene_symbol", "guide_id", "compound_id", "concentration_um")
CONTROL_KINDS = {
    "treatment": None,
    "positive_control": "positive",
    "negative_control": "negative",
    "untreated": "untreated",
}
KINDS = ("gene", "compound", "control")
EMPTY = "EMPTY"  # perturbation of untreated wells whose cell is empty, as RxRx1 calls it
PAIR_SEPARATOR = "|"  # separates the two genes of a pair in score tables


@dataclass(frozen=True)
class ImageFile:
    """One image file, described by its name.

    `site_index` and `channel_index` are 1-based; `path` is relative to the experiment's folder.
    """

    plate_id: str
    well_id: str
    site_index: int
    channel_index: int
    path: str


@dataclass(frozen=True)
class Listing:
    """Content of an experiment's folder: image files, and (path, reason) of every file that is not taken as one."""

    images: list[ImageFile]
    others: list[tuple[str, str]]


@dataclass(frozen=True)
class Metadata:
    """The metadata of an experiment, one row per site, and the lines of its table that name no experiment."""

    sites: pl.DataFrame
    nameless_lines: list[int]


def list_images(folder: UPath) -> Listing:
    """Returns the images in an experiment's folder, sorted by plate, well, site and channel.

    Raises:
        LayoutError: the folder does not exist or has no plate folder.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder in the landing zone"
        raise LayoutError(message)
    listing = Listing([], [])
    entries = list_entries(folder, within=folder)
    plates = [entry.name for entry in entries if entry.kind == "folder" and PLATE_NAME.fullmatch(entry.name)]
    if not plates:
        message = f"{folder}: no folder Plate1, Plate2, ...; expected RxRx1's layout with one folder per plate"
        raise LayoutError(message)
    for entry in entries:
        if entry.name not in (*plates, MARKER, METADATA):
            is_known = entry.kind in ("file", "folder")
            reason = "neither a plate folder nor metadata.csv" if is_known else REASONS[entry.kind]
            listing.others.append((entry.name, reason))
    for plate in plates:
        for entry in list_entries(folder / plate, within=folder):
            if entry.kind in ("file", "folder"):
                _sort_in(listing, plate, entry.name, is_file=entry.kind == "file")
            else:
                listing.others.append((f"{plate}/{entry.name}", REASONS[entry.kind]))
    listing.images.sort(key=lambda image: (image.plate_id, image.well_id, image.site_index, image.channel_index))
    listing.others.sort()
    return listing


def _sort_in(listing: Listing, plate_id: str, name: str, *, is_file: bool) -> None:
    path = f"{plate_id}/{name}"
    match = IMAGE_NAME.fullmatch(name)
    if match is None or not is_file:
        listing.others.append((path, "expected <well>_s<site>_w<channel>.png, with numbers up to 99999"))
        return
    try:
        well_id = normalise_well(match["well"])
    except LayoutError as error:
        listing.others.append((path, str(error)))
        return
    listing.images.append(ImageFile(plate_id, well_id, int(match["site"]), int(match["channel"]), path))


def image_path(folder: UPath, relative: str) -> UPath:
    """Returns the path of an image of an experiment.

    Raises:
        PartitionKeyError: the path leads out of the experiment's folder.
    """
    return resolve_below(folder, relative)


def read_metadata(landing: UPath, experiment_id: str) -> Metadata:
    """Returns the metadata of an experiment: plate, well, site and the columns of a WELLS table for each site.

    The table is `<experiment>/metadata.csv`, or else `metadata.csv` beside the experiments' folders. Columns beyond
    RxRx1's (perturbation_kind, gene_symbol, guide_id, compound_id, concentration_um) are optional. Without them, a
    treatment is the knockdown of a gene by the guide in `sirna`, and the gene's symbol is unknown.

    Raises:
        LayoutError: the table or a column is missing, or a cell cannot be read. The message names file, line and
            column.
    """
    path = landing / experiment_id / METADATA
    path = path if path.exists() else landing / METADATA
    try:
        table = read_written(path, LayoutError)
    except FileNotFoundError as error:
        message = f"{landing / experiment_id / METADATA}: missing; expected RxRx1's columns {', '.join(REQUIRED)}"
        raise LayoutError(message) from error
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        message = f"{path}: lacks the columns {missing}; it has {[name for name in table.columns if name != LINE]}"
        raise LayoutError(message)
    rows = table.filter(pl.col("experiment") == experiment_id)
    if path.parent.name == experiment_id:
        _refuse(table, pl.col("experiment").is_null(), str(path), "experiment: an empty cell")
    if rows.is_empty():
        found = sorted(table["experiment"].unique().drop_nulls().to_list())[:5]
        message = f"{path}: no row of experiment {experiment_id}; its first experiments are {found}"
        raise LayoutError(message)
    # in the table of all experiments nobody knows whose rows these are, and the others go on
    nameless_lines = table.filter(pl.col("experiment").is_null())[LINE].to_list()
    return Metadata(_typed(rows, str(path)), nameless_lines)


def _typed(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    for name in OPTIONAL:
        if name not in rows.columns:
            rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    is_empty = pl.col("sirna").is_null() & (pl.col("well_type") == "untreated")
    rows = rows.with_columns(pl.when(is_empty).then(pl.lit(EMPTY)).otherwise("sirna").alias("sirna"))
    _refuse(
        rows,
        pl.any_horizontal(pl.col(name).is_null() for name in REQUIRED),
        source,
        "an empty cell in a required column",
    )
    _refuse(rows, ~pl.col("plate").str.contains(r"^[0-9]+$"), source, "plate: expected a number")
    is_site = pl.col("site").str.contains(rf"^{NUMBER}$") & ~pl.col("site").str.contains("^0+$")
    _refuse(rows, ~is_site, source, "site: expected a number from 1 to 99999")
    _refuse(rows, ~pl.col("well_type").is_in(list(CONTROL_KINDS)), source, f"well_type: expected {list(CONTROL_KINDS)}")
    _refuse(rows, ~pl.col("perturbation_kind").is_in(KINDS), source, f"perturbation_kind: expected {list(KINDS)}")
    cell_type = pl.col("cell_type").str
    is_key = cell_type.contains(f"^(?:{KEY_PATTERN.pattern})$") & ~cell_type.contains("..", literal=True)
    _refuse(
        rows, ~is_key, source, "cell_type: it names a dataset, so use letters, digits, '_', '-' and single '.' only"
    )
    for name in ("sirna", "gene_symbol"):
        is_bad = pl.col(name).str.contains(PAIR_SEPARATOR, literal=True)
        _refuse(
            rows, is_bad, source, f"{name}: {PAIR_SEPARATOR!r} separates the two genes of a pair; use another character"
        )
    concentration = pl.col("concentration_um").cast(pl.Float64, strict=False)
    is_number = concentration.is_finite() & (concentration >= 0)
    is_bad = pl.col("concentration_um").is_not_null() & ~is_number.fill_null(value=False)
    _refuse(rows, is_bad, source, "concentration_um: expected a number of at least 0, with a decimal point")
    doses = concentration.drop_nulls().n_unique().over("sirna")
    what = (
        "concentration_um: one sirna at several concentrations, whose wells would be averaged; give each its own name"
    )
    _refuse(rows, doses > 1, source, what)
    is_control = pl.col("well_type") != "treatment"
    has_kinds = rows["perturbation_kind"].is_not_null().any()
    kind = pl.coalesce("perturbation_kind", pl.lit("gene"))
    return rows.select(
        pl.col("experiment").alias("experiment_id"),
        ("Plate" + pl.col("plate")).alias("plate_id"),
        pl.col("well").alias("well_id"),
        pl.col("site").cast(pl.Int32).alias("site_index"),
        "cell_type",
        pl.col("sirna").alias("perturbation_id"),
        pl.when(is_control).then(pl.lit("control")).otherwise(kind).alias("perturbation_kind"),
        "gene_symbol",
        pl.when(is_control).then("guide_id").otherwise("guide_id" if has_kinds else "sirna").alias("guide_id"),
        "compound_id",
        concentration,
        pl.col("well_type").replace_strict(CONTROL_KINDS, return_dtype=pl.String).alias("control_kind"),
        LINE,
    )


def _refuse(rows: pl.DataFrame, is_bad: pl.Expr, source: str, what: str) -> None:
    """Raises a LayoutError that names the first line where `is_bad` is true."""
    bad = rows.filter(is_bad)
    if bad.height:
        first = bad.row(0, named=True)
        shown = {name: first[name] for name in (*REQUIRED, *OPTIONAL) if name in first}
        message = f"{source}, line {first[LINE]}: {what}; found {shown} ({bad.height} such lines)"
        raise LayoutError(message)
