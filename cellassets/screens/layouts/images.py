"""Lists the images of an experiment as its layout declares them: as files, or as rows of Parquet files.

No pixel is read here. `listed.py` lists the images of LoadData tables, and `zarr_plates.py` those of OME-Zarr plates.
"""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.landed import ImageFile, Listing, channel_key
from cellassets.screens.landing import EXPERIMENT_FILE, MARKER
from cellassets.screens.layouts.definition import ImageFiles, ImageRows, ImageTable, Layout
from cellassets.screens.layouts.folders import find_tables, resolve_landed, walk_files
from cellassets.screens.layouts.listed import find_listed
from cellassets.screens.layouts.parquet_rows import keys_of_rows
from cellassets.screens.layouts.template import Template, compile_template
from cellassets.screens.well import normalise_well, well_name

MAX_EXAMPLES = 3
ONE_PLATE = "Plate1"  # where the names have no plate


@dataclass(frozen=True)
class Finder:
    """Lists the images of one experiment.

    Attributes:
        landing: the landing zone.
        experiment_id: name of the experiment's folder.
        layout: the declared layout.
        not_images: paths of tables and the like, which are expected beside the images.
        listing: what was found so far.
        times: time points that were found so far, each with the first image of it.
    """

    landing: UPath
    experiment_id: str
    layout: Layout
    not_images: frozenset[str] = frozenset()
    listing: Listing = field(default_factory=lambda: Listing([], []))
    times: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> UPath:
        """The experiment's folder."""
        return self.landing / self.experiment_id

    def find(self) -> Listing:
        """Returns all images, sorted by plate, well, site, channel and plane, and all files that are not images.

        Raises:
            LayoutError: there are several time points, or a table cannot be read.
        """
        images = self.layout.images
        if isinstance(images, ImageFiles):
            self._find_files(images)
        elif isinstance(images, ImageRows):
            self._find_rows(images)
        elif isinstance(images, ImageTable):
            find_listed(self.folder, images, self.add, self.listing.others)
        else:
            from cellassets.screens.layouts.zarr_plates import find_planes

            functions = self.layout.illumination_path.partition("{")[0].rpartition("/")[0]
            self.listing.stated.extend(
                find_planes(self.folder, images, self.add, self.listing.others, functions=functions)
            )
        self.listing.images.sort(
            key=lambda i: (i.plate_id, i.well_id, i.site_index, i.channel_key, i.z_index or 0, i.path, i.part or "")
        )
        self.listing.others.sort()
        if len(self.times) > 1:
            shown = ", ".join(f"{time} ({path})" for time, path in list(self.times.items())[:MAX_EXAMPLES])
            message = f"{self.folder}: {len(self.times)} time points: {shown}; expected one, land each as an experiment"
            raise LayoutError(message)
        return self.listing

    def add(self, fields: Mapping[str, str], path: str, *, part: str | None = None) -> None:
        """Adds one image from the fields of its name; a well or a number that cannot be read becomes an 'other'."""
        shown = path if part is None else f"{path} ({part})"
        try:
            well_id = _well_of(fields)
        except LayoutError as error:
            self.listing.others.append((shown, str(error)))
            return
        self.times.setdefault(fields.get("time", ""), shown)
        site, z, channel = fields.get("site", "1"), fields.get("z"), fields.get("channel", "1")
        if not site.isdigit() or not 0 < int(site) < 100_000:
            self.listing.others.append((shown, f"site {site!r}: expected a number from 1 to 99999"))
            return
        self.listing.images.append(
            ImageFile(
                plate_id=fields.get("plate", ONE_PLATE),
                well_id=well_id,
                site_index=int(site),
                channel_index=0,
                path=path,
                channel_key=channel_key(channel),
                z_index=None if z is None else int(z),
                part=part,
            )
        )

    def _find_files(self, images: ImageFiles) -> None:
        templates = [compile_template(path) for path in images.path]
        functions = compile_template(self.layout.illumination_path.replace("{channel}", "*"))
        wanted = _enters([*templates, functions], self.not_images)
        for path in walk_files(self.folder, self.listing.others, is_wanted=wanted):
            if self._is_expected(path) or functions.match(path) is not None:
                continue
            fields = next((found for template in templates if (found := template.match(path)) is not None), None)
            if fields is None:
                expected = " or ".join(template.shown for template in templates)
                self.listing.others.append((path.rstrip("/"), f"expected {expected}, with numbers up to 99999"))
            elif images.pages is None:
                self.add(fields, path)
            else:
                channels = self.layout.channels or ()
                for number, channel in enumerate(channels, start=1):
                    self.add({**fields, "channel": channel.key}, path, part=f"page {number} of {len(channels)}")

    def _is_expected(self, path: str) -> bool:
        """Returns true for files that belong to an experiment and are not images, such as tables and the marker."""
        if path in self.not_images or path in (MARKER, EXPERIMENT_FILE):
            return True
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.layout.ignored_files)

    def _find_rows(self, images: ImageRows) -> None:
        template = compile_template(images.path)
        for path in find_tables(self.landing, self.experiment_id, (images.parquet,)):
            for row, key in enumerate(keys_of_rows(resolve_landed(self.folder, path), images), start=1):
                fields = template.match(str(key))
                if fields is None:
                    reason = f"{images.key} {key!r} in row {row}: expected {images.path}; correct the name"
                    self.listing.others.append((path, reason))
                elif fields.get("experiment", self.experiment_id) == self.experiment_id:
                    self.add(fields, path, part=f"row {row}")


def _enters(templates: list[Template], not_images: frozenset[str]) -> Callable[[str], bool]:
    """Returns whether a folder can hold images or tables of the layout."""
    tables = {path.rpartition("/")[0] for path in not_images}

    def enters(folder: str) -> bool:
        names = folder.split("/")
        return any(table == folder or table.startswith(f"{folder}/") for table in tables) or any(
            len(names) < len(template.parts)
            and all(part.fullmatch(name) for part, name in zip(template.parts, names, strict=False))
            for template in templates
        )

    return enters


def _well_of(fields: Mapping[str, str]) -> str:
    if "well" in fields:
        return normalise_well(fields["well"])
    return well_name(int(fields["row"]), int(fields["column"]))
