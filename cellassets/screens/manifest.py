"""The manifest of an experiment: its metadata compared with its image files, with one finding per difference.

The input is a landing folder; nothing is written here. `cellassets.screens.ingest` applies the policy to the manifest.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.progress import Progress, no_progress
from cellassets.screens.findings import Consequence, Finding, FindingKind, findings_table
from cellassets.screens.grey_top import with_top
from cellassets.screens.illumination import with_checksums
from cellassets.screens.imaging import Imaging
from cellassets.screens.landed import SOURCE, ImageFile
from cellassets.screens.landing import EXPERIMENT_FILE
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.notices import notices_of
from cellassets.screens.policy import IngestPolicy
from cellassets.screens.scan import ScannedImage, scan_images, usual_form
from cellassets.screens.well import infer_geometry, normalise_well, well_place
from cellassets.screens.whole_plates import bad_plates
from cellassets.tables.schemas import IMAGES, WELLS
from cellassets.tables.written import LINE

N_THREADS = 4
N_NAMED = 6  # copies of one image in a message
Site = tuple[str, str, int]
WELL_COLUMNS = [name for name in WELLS.names if name not in ("experiment_id", "plate_id", "well_id")]


@dataclass(frozen=True)
class Manifest:
    """Images, wells and findings of one experiment.

    Attributes:
        images: IMAGES table, one row per image of a kept well.
        wells: WELLS table, one row per kept well. Wells of a plate that is dropped as a whole are not kept.
        findings: FINDINGS table, one row per problem.
        n_sites: sites of the kept wells, dropped sites included.
        n_dropped: sites among these that are dropped.
        n_sites_named: sites in the metadata, those of dropped wells included, those of dropped plates not.
        imaging: how the images were taken.
        layout_name: the layout that the folder was read by.
        n_files: images of the kept wells, whether they were read or not.
        sites: plate, well and index of each site of the kept wells.
    """

    images: pl.DataFrame
    wells: pl.DataFrame
    findings: pl.DataFrame
    n_sites: int
    n_dropped: int
    n_sites_named: int
    imaging: Imaging
    layout_name: str
    n_files: int
    sites: pl.DataFrame


def build_manifest(
    landing: UPath,
    experiment_id: str,
    *,
    policy: IngestPolicy,
    n_sites_read: int | None = None,
    progress: Progress = no_progress,
) -> Manifest:
    """Returns the manifest of an experiment in the landing zone; every image is read and decoded once.

    Args:
        landing: folder or URL that contains the experiment's folder.
        experiment_id: name of the experiment's folder.
        policy: requirements on images and wells.
        n_sites_read: sites whose images are read, spread over the experiment; None for all. The images of other sites
            are missing in the table.
        progress: receives the number of images checked.

    Raises:
        LayoutError: no layout fits the folder, or its metadata cannot be read.
        ConfigError: `experiment.yaml` is not valid.
        ImageError: images are to be corrected and an illumination function is missing or not one.
    """
    screen = choose_layout(landing, experiment_id).read(landing, experiment_id)
    check = _Check(experiment_id, policy, screen.imaging)
    for note in screen.notes:
        check.add("row_without_experiment", note, "none")
    for kind, notice in notices_of(screen.sites.unique(["plate_id", "well_id"]), screen.imaging, screen.column_notes):
        check.add(kind, notice, "none")
    for place in screen.excluded:
        check.add("excluded", f"{place}: excluded in {EXPERIMENT_FILE}", "none")
    rows = check.wells_of(screen.sites)
    for path, reason in screen.listing.others:
        check.add("unexpected_file", f"{path}: {reason}", "file_ignored", path=path)
    files = check.expected_files(rows, screen.listing.images)
    read = files if n_sites_read is None else _spread(files, n_sites_read)
    scanned = scan_images(landing / experiment_id, read, n_threads=N_THREADS, progress=progress)
    check.images(scanned)
    dropped = check.dropped_sites()
    gone = check.bad_plates(screen.sites, rows, dropped)
    rows, named = (table.filter(~pl.col("plate_id").is_in(gone)) for table in (rows, screen.sites))
    files = [file for file in files if file.plate_id not in gone]
    scanned = [image for image in scanned if image.file.plate_id not in gone]
    dropped = {site for site in dropped if site[0] not in gone}
    imaging = with_top(screen.imaging, scanned, declared_in=f"{landing / experiment_id / EXPERIMENT_FILE}")
    plates = sorted({file.plate_id for file in files})
    return Manifest(
        images=check.images_table(scanned, dropped),
        wells=WELLS.conform(rows.unique(["plate_id", "well_id"]).sort("plate_id", "well_id"), source=experiment_id),
        findings=findings_table(check.findings),
        n_sites=rows.height,
        n_dropped=len(dropped),
        n_sites_named=named.unique(["plate_id", "well_id", "site_index"]).height,
        imaging=with_checksums(imaging, landing / experiment_id, plates),
        layout_name=screen.layout_name,
        n_files=len(files),
        sites=rows.select("plate_id", "well_id", "site_index"),
    )


def _spread(files: list[ImageFile], n_sites: int) -> list[ImageFile]:
    """Returns the images of some sites, spread evenly."""
    sites = sorted({(file.plate_id, file.well_id, file.site_index) for file in files})
    chosen = set(sites[:: max(1, -(-len(sites) // n_sites))])
    return [file for file in files if (file.plate_id, file.well_id, file.site_index) in chosen]


class _Check:
    """Collects the findings of one experiment while it is checked."""

    def __init__(self, experiment_id: str, policy: IngestPolicy, imaging: Imaging) -> None:
        self.experiment_id = experiment_id
        self.policy = policy
        self.imaging = imaging
        self.findings: list[Finding] = []
        self.sites: set[Site] = set()

    def add(
        self, kind: FindingKind, message: str, consequence: Consequence, *, at: ImageFile | None = None,
        site: tuple[str, str | None, int | None] | None = None, path: str | None = None,
    ) -> None:  # fmt: skip
        """Adds one finding at a file, at a site or at a path."""
        plate_id, well_id, site_index = site or (None, None, None)
        if at is not None:
            plate_id, well_id, site_index, path = at.plate_id, at.well_id, at.site_index, at.path or None
        channel_index = None if at is None else at.channel_index
        self.findings.append(
            Finding(kind, self.experiment_id, message, consequence, plate_id, well_id, site_index, channel_index, path)
        )

    def wells_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Returns the metadata's sites in wells that are on the plate and described once; others become findings."""
        names: dict[str, str | None] = {}
        for name in rows["well_id"].unique().to_list():
            try:
                names[name] = normalise_well(name)
            except LayoutError:
                names[name] = None
        known = [name for name in names.values() if name is not None]
        n_rows, n_columns = self.policy.n_rows, self.policy.n_columns
        if n_rows is None or n_columns is None:
            n_rows, n_columns = infer_geometry(known)
        on_plate = {
            name: well_id
            for name, well_id in names.items()
            if well_id is not None and well_place(well_id)[0] < n_rows and well_place(well_id)[1] < n_columns
        }
        for row in rows.filter(~pl.col("well_id").is_in(list(on_plate))).iter_rows(named=True):
            message = (
                f"{_lines([row])}: {row['plate_id']}: well {row['well_id']!r} is not on a plate of {n_rows} x "
                f"{n_columns}; correct its name, or set ingest.n_rows and n_columns"
            )
            self.add("unknown_well", message, "well_dropped", site=(row["plate_id"], row["well_id"], row["site_index"]))
        rows = rows.filter(pl.col("well_id").is_in(list(on_plate)))
        rows = rows.with_columns(pl.col("well_id").replace_strict(on_plate, return_dtype=pl.String))
        return self._described_once(rows)

    def _described_once(self, rows: pl.DataFrame) -> pl.DataFrame:
        place = ["plate_id", "well_id"]
        kinds = rows.unique([*place, *WELL_COLUMNS]).group_by(place).len().filter(pl.col("len") > 1).sort(place)
        contradicting = rows.join(kinds, on=place).unique([*place, *WELL_COLUMNS], keep="first").sort(*place, LINE)
        for (plate_id, well_id), ways in contradicting.group_by(place, maintain_order=True):
            message = (
                f"{plate_id} {well_id}: the metadata describe this well in {ways.height} different ways "
                f"({_lines(ways.to_dicts())}); correct its rows"
            )
            self.add("contradicting_rows", message, "well_dropped", site=(str(plate_id), str(well_id), None))
        rows = rows.join(kinds.select(place), on=place, how="anti")
        site = [*place, "site_index"]
        repeated = rows.filter(pl.struct(site).is_duplicated()).sort(*site, LINE)
        for (plate_id, well_id, site_index), same in repeated.group_by(site, maintain_order=True):
            message = (
                f"{plate_id} {well_id} site {site_index}: {same.height} rows ({_lines(same.to_dicts())}); it counts "
                "once; remove the others"
            )
            self.add("contradicting_rows", message, "none", site=(str(plate_id), str(well_id), int(site_index)))
        return rows.unique(site).sort(site)

    def expected_files(self, rows: pl.DataFrame, images: list[ImageFile]) -> list[ImageFile]:
        """Returns the files of the sites in the metadata; missing, duplicate and unlisted files become findings."""
        self.sites = set(rows.select("plate_id", "well_id", "site_index").rows())
        by_site: dict[Site, list[ImageFile]] = defaultdict(list)
        for image in images:
            by_site[image.plate_id, image.well_id, image.site_index].append(image)
        without_row = sorted(by_site.keys() - self.sites)
        without_images = sorted(self.sites - by_site.keys())
        self._one_sided(without_row, {plate for plate, _, _ in self.sites}, by_site)
        plates = {image.plate_id for image in images}
        for plate, n_sites in Counter(plate for plate, _, _ in without_images if plate not in plates).items():
            message = (
                f"{plate}: {n_sites} sites in the metadata and no image of this plate; copy its images, or exclude the "
                f"plate in {EXPERIMENT_FILE}"
            )
            self.add("row_without_images", message, "site_dropped", site=(plate, None, None))
        for site in sorted(self.sites):
            if site[0] in plates:
                self._expect_channels(site, by_site.get(site, []))
        self._expect_planes(images)
        return [image for site in sorted(self.sites) for image in by_site.get(site, []) if image.channel_index]

    def _one_sided(
        self, sites: Sequence[Site], plates: AbstractSet[str], by_site: Mapping[Site, Sequence[ImageFile]]
    ) -> None:
        """Adds a finding for each site that has images and no row, or one for its plate if that has no row at all."""
        unknown: dict[str, list[ImageFile]] = defaultdict(list)
        for site in sites:
            if site[0] not in plates:
                unknown[site[0]] += by_site[site]
                continue
            names = ", ".join(image.shown_path for image in by_site[site][:3])
            message = (
                f"{_called(site)}: {len(by_site[site])} images but no row in the metadata ({names}); add the row, or "
                "remove the images"
            )
            self.add("images_without_row", message, "file_ignored", site=site)
        for plate, images in unknown.items():
            message = (
                f"{plate}: {len(images)} images of this plate, such as {images[0].shown_path}, and no row in the "
                f"metadata that is used; add its rows, or exclude the plate in {EXPERIMENT_FILE}"
            )
            self.add("images_without_row", message, "plate_dropped", site=(plate, None, None))

    def bad_plates(self, named: pl.DataFrame, kept: pl.DataFrame, dropped: set[Site]) -> list[str]:
        """Returns the plates that are dropped as a whole; each of them becomes a finding."""
        max_frac = self.policy.max_dropped_frac_of_plate
        found = bad_plates(named, kept, dropped, max_frac)
        for plate in found:
            self.add("plate_refused", plate.message(max_frac or 0), "plate_dropped", site=(plate.plate_id, None, None))
        return [plate.plate_id for plate in found]

    def _expect_channels(self, site: Site, images: list[ImageFile]) -> None:
        if not images:
            message = f"{_called(site)}: a row in the metadata but no images; copy them, or remove the row"
            self.add("row_without_images", message, "site_dropped", site=site)
            return
        by_channel: dict[int, list[ImageFile]] = defaultdict(list)
        for image in images:
            by_channel[image.channel_index].append(image)
        names = self.imaging.channel_names
        for channel, name in enumerate(names, start=1):
            if channel not in by_channel:
                message = f"{_called(site)}: no image of channel {channel} ({name}); copy it"
                self.add("missing_image", message, "site_dropped", at=ImageFile(*site, channel, ""))
        for image in by_channel.pop(0, []):
            message = (
                f"{image.shown_path}: channel {image.channel_key}; expected {len(names)} channels: {', '.join(names)}; "
                f"add it to `channels` or `ignored_channels` in {EXPERIMENT_FILE}"
            )
            self.add("unexpected_file", message, "file_ignored", at=image)
        for channel, same in sorted(by_channel.items()):
            planes = Counter(image.z_index for image in same)
            if max(planes.values()) > 1:
                shown = ", ".join(image.shown_path for image in same)
                message = (
                    f"{_called(site)} channel {channel}: {len(same)} files for one image ({shown}); if the names mean "
                    f"different channels or planes, say so in images.path of {EXPERIMENT_FILE}; else keep one of them "
                    "and remove the others"
                )
                self.add("duplicate_image", message, "site_dropped", at=same[0])

    def _expect_planes(self, images: list[ImageFile]) -> None:
        """Adds a finding where an image has other planes than most images of the experiment."""
        planes: dict[tuple[Site, int], list[int]] = defaultdict(list)
        for image in images:
            site = (image.plate_id, image.well_id, image.site_index)
            if image.z_index is not None and image.channel_index and site in self.sites:
                planes[site, image.channel_index].append(image.z_index)
        usual = Counter(tuple(sorted(set(found))) for found in planes.values()).most_common(1)
        for (site, channel), found in sorted(planes.items()):
            if tuple(sorted(set(found))) != usual[0][0]:
                what = (
                    f"planes {sorted(set(found))}; expected {list(usual[0][0])} as in most images; copy what is missing"
                )
                message = f"{_called(site)} channel {channel}: {what}"
                self.add("missing_image", message, "site_dropped", at=ImageFile(*site, channel, ""))

    def images(self, scanned: list[ScannedImage]) -> None:
        """Adds findings for images that are damaged, differ in size or type, or are copies of another image."""
        form = usual_form(scanned)
        size = self.policy.image_size_px or (form[:2] if form else (0, 0))
        for image in scanned:
            found = self._fault(image, size, None if form is None else form[2])
            if found is not None:
                kind, what = found
                self.add(kind, f"{_called(_site_of(image.file))}: {what}", "site_dropped", at=image.file)
        self._copies(scanned)

    def _fault(self, image: ScannedImage, size: tuple[int, int], dtype: str | None) -> tuple[FindingKind, str] | None:
        """Returns what is wrong with an image by itself; None if nothing is."""
        name, number = image.file.shown_path, image.file.channel_index
        if image.error is not None:
            return "truncated_image", image.error
        if (image.height, image.width) != size:
            found = f"{image.height} x {image.width} pixels; expected {size[0]} x {size[1]}"
            return "wrong_size", f"{name}: {found}; export it again at this size"
        if image.dtype != dtype:
            what = f"{name}: {image.dtype}; expected {dtype} as in the rest of the experiment"
            return "wrong_dtype", f"{what}; export it again with this depth"
        if image.is_constant:
            channel = f"{number} ({self.imaging.channel_names[number - 1]})"
            what = f"{name}: all pixels are equal, so channel {channel} shows nothing"
            return "blank_image", f"{what}; copy the file again, or take the image again"
        return None

    def _copies(self, scanned: list[ScannedImage]) -> None:
        by_content: dict[tuple[int, int], list[ScannedImage]] = defaultdict(list)
        for image in scanned:
            if image.error is None and not image.is_constant:
                by_content[image.n_bytes, image.same_as].append(image)
        for same in by_content.values():
            sites = {_site_of(image.file) for image in same}
            if len(sites) == 1 and len({image.file.channel_index for image in same}) == 1:
                continue  # two names of one image, such as w1 and w01, which are named already
            where = "in other sites" if len(sites) > 1 else "in another channel of the site"
            names = ", ".join(image.file.shown_path for image in same[:N_NAMED])
            more = f" and {len(same) - N_NAMED} more" if len(same) > N_NAMED else ""
            for image in same:
                message = (
                    f"{image.file.shown_path}: the same content, byte for byte, as {where} ({names}{more}); keep the "
                    "right one and replace the others"
                )
                self.add("duplicate_image", message, "site_dropped", at=image.file)

    def dropped_sites(self) -> set[Site]:
        """Returns the sites with at least one finding that drops them."""
        found = {finding.site for finding in self.findings if finding.consequence == "site_dropped"}
        return {site for site in self.sites if site in found or (site[0], None, None) in found}

    def images_table(self, scanned: list[ScannedImage], dropped: set[Site]) -> pl.DataFrame:
        """Returns the scanned images as an IMAGES table; images of dropped sites are not usable."""
        channels = self.imaging.channel_names
        rows = [
            {
                "experiment_id": self.experiment_id,
                "plate_id": image.file.plate_id,
                "well_id": image.file.well_id,
                "site_index": image.file.site_index,
                "channel_index": image.file.channel_index,
                "channel_name": channels[image.file.channel_index - 1],
                "z_index": image.file.z_index,
                "path": image.file.path,
                "part": image.file.part,
                "n_bytes": image.n_bytes,
                "crc32c": image.crc32c,
                "height": image.height,
                "width": image.width,
                "dtype": image.dtype,
                "is_usable": (image.file.plate_id, image.file.well_id, image.file.site_index) not in dropped,
            }
            for image in scanned
        ]
        table = pl.DataFrame(rows, infer_schema_length=None) if rows else IMAGES.empty()
        return IMAGES.conform(table, source=self.experiment_id)


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the tables and lines of some rows, for messages."""
    places = [f"{row[SOURCE]}, line {row[LINE]}" if SOURCE in row else f"line {row[LINE]}" for row in rows[:N_NAMED]]
    return "; ".join(places)


def _site_of(file: ImageFile) -> Site:
    return file.plate_id, file.well_id, file.site_index


def _called(site: Site) -> str:
    return f"{site[0]} {site[1]} site {site[2]}"
