"""A layout that is declared in YAML, applied to a folder: is it recognised, and what does it hold."""

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.imaging import Imaging
from cellassets.screens.landed import SOURCE, ImageFile, LandedScreen, Listing
from cellassets.screens.layouts.definition import Layout
from cellassets.screens.layouts.folders import BESIDE, find_paths, find_tables, resolve_landed
from cellassets.screens.layouts.images import Finder
from cellassets.screens.layouts.listed import read_load_data
from cellassets.screens.layouts.metadata import MetadataTable, read_metadata, well_form
from cellassets.screens.layouts.rules import place_of
from cellassets.screens.layouts.stated import stated_channels, stated_pixel_size
from cellassets.tables.written import LINE, written_header

NOT_IN_NAMES = str.maketrans(dict.fromkeys("/\\*?[]{}", "_"))  # of files, or with a meaning in a template
USUAL_FRAC = 0.9  # of the wells have a site that every well should have


@dataclass(frozen=True)
class DeclaredLayout:
    """A layout from YAML."""

    declared: Layout

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared.name

    def recognises(self, landing: UPath, experiment_id: str) -> bool:
        """Returns true if files and columns are as the layout says; false for one without a rule."""
        rule, folder = self.declared.recognise, landing / experiment_id
        if rule is None:
            return False
        if not all(_exists(folder, path) for path in rule.files) or any(_exists(folder, p) for p in rule.without_files):
            return False
        if not (rule.columns or rule.without_columns):
            return True
        paths = find_tables(landing, experiment_id, self.declared.metadata.tables[0].path)
        columns = _header(resolve_landed(folder, paths[0])) if paths else []
        return bool(columns) and set(rule.columns) <= set(columns) and not set(rule.without_columns) & set(columns)

    def read(self, landing: UPath, experiment_id: str) -> LandedScreen:
        """Returns the experiment: its images and its metadata.

        Raises:
            LayoutError: a table or a column is missing or a cell cannot be read, or there is no image; or experiments
                of this form cannot be read at all.
        """
        layout = self.declared
        if layout.refusal is not None:
            message = f"{landing / experiment_id}: {layout.refusal}"
            raise LayoutError(message)
        metadata = read_metadata(landing, experiment_id, layout)
        inside = frozenset(path for path in metadata.paths if not path.startswith(BESIDE))
        found = Finder(landing, experiment_id, layout, inside).find()
        if not found.images:
            message = (
                f"{landing / experiment_id}: no image as the layout {layout.name} has them; {_what_is_there(found)}"
            )
            raise LayoutError(message)
        _refuse_unprojected(layout, found.images)
        keys, imaging, listing = _with_channels(layout, found)
        sites, excluded = _without_excluded(layout, _sites(metadata, listing, experiment_id))
        gone = set(_excluded(layout, {(image.plate_id, image.well_id) for image in listing.images}))
        kept = [image for image in listing.images if (image.plate_id, image.well_id) not in gone]
        notes = []
        if metadata.nameless_lines:
            n_lines = len(metadata.nameless_lines)
            line = metadata.nameless_lines[0]
            notes = [f"{metadata.paths[0].removeprefix(BESIDE)}, line {line}: no experiment ({n_lines} such lines)"]
        return LandedScreen(
            layout_name=layout.name,
            imaging=imaging,
            listing=Listing(kept, listing.others),
            sites=sites,
            notes=notes,
            column_notes=metadata.column_notes,
            excluded=excluded,
            illumination=_illumination(layout, keys),
        )


def _exists(folder: UPath, pattern: str) -> bool:
    return next(find_paths(folder, pattern), None) is not None


def _header(path: UPath) -> list[str]:
    if path.name.endswith(".parquet"):
        return read_load_data(path).columns
    return written_header(path, LayoutError)


def _refuse_unprojected(layout: Layout, images: Sequence[ImageFile]) -> None:
    """Raises a LayoutError if there are several planes and no rule that makes one image of them."""
    if layout.z_projection is not None:
        return
    planes: dict[tuple[str, str, int, str], set[int]] = defaultdict(set)
    for image in images:
        if image.z_index is not None:
            planes[image.plate_id, image.well_id, image.site_index, image.channel_key].add(image.z_index)
    several = next(((place, found) for place, found in planes.items() if len(found) > 1), None)
    if several is not None:
        (plate, well, site, channel), found = several
        shown = ", ".join(map(str, sorted(found)))
        message = (
            f"{plate} {well} site {site} channel {channel}: planes {shown}; set z_projection (maximum, mean or middle) "
            "in experiment.yaml"
        )
        raise LayoutError(message)


def _what_is_there(listing: Listing) -> str:
    if not listing.others:
        return "the folder holds no other file"
    shown = "; ".join(f"{path}: {reason}" for path, reason in listing.others[:3])
    return f"{len(listing.others)} other entries, such as {shown}"


def _with_channels(layout: Layout, listing: Listing) -> tuple[list[str], Imaging, Listing]:
    """Returns the keys of the channels, how the images were taken, and the images with the number of their channel."""
    images = [image for image in listing.images if image.channel_key not in layout.ignored_channels]
    stated = [image for image in listing.stated if not _is_plate_excluded(layout, image.plate_id)]
    if layout.channels is None:
        found = sorted({image.channel_key for image in images}, key=lambda key: (len(key) if key.isdigit() else 0, key))
        keys = stated_channels(stated, layout.ignored_channels)
        keys = [*(key for key in keys if key in found), *(key for key in found if key not in keys)]
        names = tuple(f"channel {key}" if key.isdigit() else key for key in keys)
        dna = None
    else:
        keys = [channel.key for channel in layout.channels]
        names = tuple(channel.name for channel in layout.channels)
        dna = next((channel.name for channel in layout.channels if channel.is_dna), None)
    number = {key: index for index, key in enumerate(keys, start=1)}
    imaging = Imaging(
        channel_names=names,
        dna_channel=dna,
        pixel_size_um=stated_pixel_size(stated) if layout.pixel_size_um is None else layout.pixel_size_um,
        top_grey_level=layout.top_grey_level,
        illumination=_illumination(layout, keys) if layout.correct_illumination else None,
        z_projection=layout.z_projection,
    )
    numbered = [replace(image, channel_index=number.get(image.channel_key, 0)) for image in images]
    return keys, imaging, Listing(numbered, listing.others)


def _illumination(layout: Layout, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(layout.illumination_path.replace("{channel}", key.translate(NOT_IN_NAMES)) for key in keys)


def _sites(metadata: MetadataTable, listing: Listing, experiment_id: str) -> pl.DataFrame:
    """Returns one row per site: a table of wells is repeated for each site, and one without plates for each plate."""
    rows = metadata.sites.with_columns(well_form("well_id"))
    if _is_open(rows, "plate_id"):
        plates = sorted({image.plate_id for image in listing.images})
        rows = rows.drop("plate_id").join(pl.DataFrame({"plate_id": plates}), how="cross")
    if _is_open(rows, "site_index"):
        sites = _expected_sites(listing.images, rows.select("plate_id", "well_id").unique())
        rows = rows.drop("site_index").join(sites, on=["plate_id", "well_id"], how="inner")
    return rows.with_columns(pl.lit(experiment_id).alias("experiment_id")).sort(SOURCE, LINE, "plate_id", "site_index")


def _is_open(rows: pl.DataFrame, column: str) -> bool:
    """Returns true if a column has no value at all; some empty cells among others are refused."""
    empty = rows.filter(pl.col(column).is_null())
    if 0 < empty.height < rows.height:
        message = f"{place_of(empty)}: {column}: an empty cell ({empty.height} such lines); fill all or none"
        raise LayoutError(message)
    return empty.height > 0


def _expected_sites(images: Sequence[ImageFile], wells: pl.DataFrame) -> pl.DataFrame:
    """Returns plate, well and index of the sites of each well: those that it has, and those that most wells have.

    A well without an image gets the sites of the others, so that it is missed.
    """
    schema = {"plate_id": pl.String, "well_id": pl.String, "site_index": pl.Int32}
    found = {(image.plate_id, image.well_id, image.site_index) for image in images}
    n_wells = len({(plate, well) for plate, well, _ in found})
    wells_with = Counter(site for _, _, site in found)
    usual = [site for site, n in wells_with.items() if n >= USUAL_FRAC * n_wells]
    own = pl.DataFrame(list(found), schema=schema, orient="row").join(wells, on=["plate_id", "well_id"], how="semi")
    bare = wells.join(own, on=["plate_id", "well_id"], how="anti")
    parts = [own]
    for some, sites in ((wells, usual), (bare, usual or [min(wells_with)])):
        parts.append(
            some.join(pl.DataFrame({"site_index": sites}, {"site_index": pl.Int32}), how="cross").select(*schema)
        )
    return pl.concat(parts).unique()


def _without_excluded(layout: Layout, sites: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    places = sites.select("plate_id", "well_id").unique().sort("plate_id", "well_id").rows()
    _refuse_unknown_exclusion(layout, sorted({plate for plate, _ in places}))
    excluded = _excluded(layout, places)
    if not excluded:
        return sites, []
    gone = pl.DataFrame(excluded, schema={"plate_id": pl.String, "well_id": pl.String}, orient="row")
    return sites.join(gone, on=["plate_id", "well_id"], how="anti"), list(_named(layout, excluded))


def _named(layout: Layout, excluded: Sequence[tuple[str, str]]) -> Iterator[str]:
    plates = [plate for plate in dict.fromkeys(plate for plate, _ in excluded) if _is_plate_excluded(layout, plate)]
    yield from (f"plate {plate}" for plate in plates)
    whole = set(plates)
    yield from (f"{plate} {well}" for plate, well in excluded if plate not in whole)


def _refuse_unknown_exclusion(layout: Layout, plates: Sequence[str]) -> None:
    named = [*layout.exclude.plates, *(plate for plate in layout.exclude.wells if plate != "*")]
    unknown = [name for name in named if not any(fnmatch.fnmatchcase(plate, name) for plate in plates)]
    if unknown:
        message = f"experiment.yaml: exclude: there is no plate {unknown[0]}; the plates are {', '.join(plates[:12])}"
        raise LayoutError(message)


def _excluded(layout: Layout, places: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns the plates and wells among `places` that are left out on purpose, in their order."""
    exclude, places = layout.exclude, list(places)
    if not (exclude.plates or exclude.wells):
        return []
    plates = {plate: _is_plate_excluded(layout, plate) for plate, _ in places}
    wells = {plate: {*exclude.wells.get(plate, ()), *exclude.wells.get("*", ())} for plate in plates}
    return [(plate, well) for plate, well in places if plates[plate] or well in wells[plate]]


def _is_plate_excluded(layout: Layout, plate_id: str) -> bool:
    return any(fnmatch.fnmatchcase(plate_id, pattern) for pattern in layout.exclude.plates)
