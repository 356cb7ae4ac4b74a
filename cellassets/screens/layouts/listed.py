"""Lists the images of a LoadData table, one row per site, as CellProfiler reads and writes them.

The folders in such a table are those of another machine. So a file is found by its name and by as many of the last
folders of its path as distinguish it from others. No pixel is read here.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.layouts.definition import ImageTable
from cellassets.screens.layouts.folders import find_paths, walk_files
from cellassets.tables.written import LINE, read_written

MAX_EXAMPLES = 3
N_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class ListedImage:
    """One image of a line: what it shows, the file that was found, and how many names its path shares with the line."""

    fields: Mapping[str, str]
    path: str
    n_shared: int
    listed: str
    place: str


def find_listed(
    folder: UPath, images: ImageTable, add: Callable[[Mapping[str, str], str], None], others: list[tuple[str, str]]
) -> None:
    """Adds every image that the tables of a folder list.

    Args:
        folder: the experiment's folder.
        images: the tables and their columns.
        add: receives the fields of an image and the path of its file.
        others: receives path and reason of what is listed and cannot be found, and of what is there and not listed.

    Raises:
        LayoutError: there is no table, or one of them cannot be read or lacks a column.
    """
    paths = list(walk_files(folder, others))
    folders: dict[str, list[str]] = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        folders.setdefault(name, []).append(parent)
    known = {name: tuple(found) for name, found in folders.items()}
    tables = [name for pattern in images.table for name in find_paths(folder, pattern)]
    if not tables:
        message = f"{folder}: no table {' or '.join(images.table)}; copy the table that lists the images"
        raise LayoutError(message)
    found = [image for name in tables for image in _lines(folder, name, images, known, others)]
    best: dict[str, int] = {}
    for image in found:
        best[image.path] = max(best.get(image.path, 0), image.n_shared)
    for image in found:
        if image.n_shared == best[image.path]:
            add(image.fields, image.path)
        else:
            reason = (
                f"{image.place}: no such file below the folder; {image.path} is that of another line; copy the file"
            )
            others.append((image.listed, reason))
    _name_unlisted(paths, {image.path for image in found}, tables, others)


def read_load_data(path: UPath) -> pl.DataFrame:
    """Returns a LoadData table, CSV or Parquet, as text with the line of each row.

    Raises:
        LayoutError: it cannot be read.
    """
    if not path.name.endswith(".parquet"):
        return read_written(path, LayoutError)
    from cellassets.tables.parquet import read_foreign

    table = read_foreign(path, LayoutError)
    return table.select(pl.all().cast(pl.String)).with_row_index(LINE, offset=1)


def _lines(
    folder: UPath,
    name: str,
    images: ImageTable,
    known: Mapping[str, tuple[str, ...]],
    others: list[tuple[str, str]],
) -> Iterator[ListedImage]:
    """Yields the images that a table lists and that are there."""
    table = read_load_data(folder / name)
    missing = [column for column in (images.plate, images.well, images.site) if column not in table.columns]
    channels = _channels(images, table.columns)
    if missing or not channels:
        lacking = missing[0] if missing else images.file
        message = (
            f"{folder / name}: lacks the column {lacking}; it has {table.columns[:N_COLUMNS_SHOWN]}; rename the "
            "column, or correct `images` in experiment.yaml"
        )
        raise LayoutError(message)
    for row in table.iter_rows(named=True):
        place = f"{name}, line {row[LINE]}"
        fields = {"plate": row[images.plate], "well": row[images.well], "site": row[images.site]}
        if None in fields.values():
            others.append((name, f"line {row[LINE]}: no plate, well or site; fill all three"))
            continue
        for channel in channels:
            listed = row[images.file.format(channel=channel)]
            if listed is None:
                continue  # the image is missing, as `raw_plates` will say
            above, _, file = listed.replace("\\", "/").rpartition("/")
            parent = f"{row.get(images.folder.format(channel=channel)) or ''}/{above}"
            places, n_shared = _nearest(parent, known.get(file, ()))
            if len(places) == 1:
                path = f"{places[0]}/{file}".lstrip("/")
                yield ListedImage({**fields, "channel": channel}, path, n_shared, listed, place)
            else:
                others.append((listed, f"{place}: {_why_not(places)}"))


def _channels(images: ImageTable, columns: Sequence[str]) -> list[str]:
    before, _, after = images.file.partition("{channel}")
    return [
        column[len(before) : len(column) - len(after)]
        for column in columns
        if column.startswith(before) and column.endswith(after) and len(column) > len(before) + len(after)
    ]


@functools.lru_cache(maxsize=1 << 14)
def _nearest(listed: str, folders: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Returns the folders that share the most names at the end of a listed one, and how many names they share."""
    wanted = [name for name in listed.replace("\\", "/").split("/") if name][::-1]
    shared = {folder: _n_equal(wanted, folder.split("/")[::-1]) for folder in folders}
    most = max(shared.values(), default=0)
    return tuple(folder for folder, n in shared.items() if n == most), most


def _n_equal(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(first, second, strict=False)
    n_common = min(len(first), len(second))
    return next((number for number, (a, b) in enumerate(pairs) if a != b), n_common)


def _why_not(places: Sequence[str]) -> str:
    if not places:
        return "no such file below the folder; copy it, or remove the line"
    shown = ", ".join(place or "." for place in places[:MAX_EXAMPLES])
    return f"{len(places)} files of this name fit equally well, in {shown}; name folders in the table that differ"


def _name_unlisted(
    paths: Sequence[str], listed: set[str], tables: Sequence[str], others: list[tuple[str, str]]
) -> None:
    """Adds an entry for each folder with files like the listed ones that no line lists."""
    endings = {path.rpartition(".")[2] for path in listed}
    unlisted = [
        path for path in paths if path not in listed and path.rpartition(".")[2] in endings - {"csv", "parquet"}
    ]
    examples: dict[str, str] = {}
    for path in unlisted:
        examples.setdefault(path.rpartition("/")[0], path)
    counts = Counter(path.rpartition("/")[0] for path in unlisted)
    for folder, example in examples.items():
        reason = f"{counts[folder]} files in this folder that no line of {', '.join(tables[:MAX_EXAMPLES])} lists"
        others.append((example, f"{reason}; add their lines, or remove the files"))
