"""The manifest of an experiment: its metadata compared with its image files, with one finding per difference.

The input is a landing folder; nothing is written here. `cellassets.screens.ingest` applies the policy to the manifest.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

import polars as pl
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.progress import Progress, no_progress
from cellassets.screens.findings import Consequence, Finding, FindingKind, findings_table
from cellassets.screens.imaging import Imaging
from cellassets.screens.landed import ImageFile
from cellassets.screens.landing import EXPERIMENT_FILE
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.policy import IngestPolicy
from cellassets.screens.scan import ScannedImage, scan_images, usual_form
from cellassets.screens.well import infer_geometry, normalise_well, well_place
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
        wells: WELLS table, one row per kept well.
        findings: FINDINGS table, one row per problem.
        n_sites: sites of the kept wells, dropped sites included.
        n_dropped: sites among these that are dropped.
        n_sites_named: sites in the metadata, those of dropped wells included.
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
    """
    screen = choose_layout(landing, experiment_id).read(landing, experiment_id)
    check = _Check(experiment_id, policy, screen.imaging)
    for note in screen.notes:
        check.add("row_without_experiment", note, "none")
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
    return Manifest(
        images=check.images_table(scanned, dropped),
        wells=WELLS.conform(rows.unique(["plate_id", "well_id"]).sort("plate_id", "well_id"), source=experiment_id),
        findings=findings_table(check.findings),
        n_sites=rows.height,
        n_dropped=len(dropped),
        n_sites_named=screen.sites.unique(["plate_id", "well_id", "site_index"]).height,
        imaging=_with_top(screen.imaging, scanned),
        layout_name=screen.layout_name,
        n_files=len(files),
        sites=rows.select("plate_id", "well_id", "site_index"),
    )


def _spread(files: list[ImageFile], n_sites: int) -> list[ImageFile]:
    """Returns the images of some sites, spread evenly."""
    sites = sorted({(file.plate_id, file.well_id, file.site_index) for file in files})
    chosen = set(sites[:: max(1, -(-len(sites) // n_sites))])
    return [file for file in files if (file.plate_id, file.well_id, file.site_index) in chosen]


def _with_top(imaging: Imaging, scanned: list[ScannedImage]) -> Imaging:
    """Returns the imaging with the highest grey level: as declared, or else as found in the experiment."""
    found = max((image.maximum for image in scanned), default=0) or None
    return imaging.model_copy(update={"top_grey_level": imaging.top_grey_level or found})


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
        site: tuple[str, str, int | None] | None = None, path: str | None = None,
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
            message = f"line {row[LINE]}: well {row['well_id']!r} is not on a plate of {n_rows} x {n_columns}"
            self.add("unknown_well", message, "well_dropped", site=(row["plate_id"], row["well_id"], row["site_index"]))
        rows = rows.filter(pl.col("well_id").is_in(list(on_plate)))
        rows = rows.with_columns(pl.col("well_id").replace_strict(on_plate, return_dtype=pl.String))
        return self._described_once(rows)

    def _described_once(self, rows: pl.DataFrame) -> pl.DataFrame:
        place = ["plate_id", "well_id"]
        kinds = rows.unique([*place, *WELL_COLUMNS]).group_by(place).len().filter(pl.col("len") > 1).sort(place)
        for plate_id, well_id, n in kinds.rows():
            message = f"{plate_id} {well_id}: the metadata describe this well in {n} different ways; correct its rows"
            self.add("contradicting_rows", message, "well_dropped", site=(plate_id, well_id, None))
        rows = rows.join(kinds.select(place), on=place, how="anti")
        site = [*place, "site_index"]
        repeated = rows.group_by(site).agg(pl.len(), pl.col(LINE).max()).filter(pl.col("len") > 1).sort(site)
        for plate_id, well_id, site_index, n, line in repeated.rows():
            message = f"{plate_id} {well_id} site {site_index}: {n} rows, the last one in line {line}; it counts once"
            self.add("contradicting_rows", message, "none", site=(plate_id, well_id, site_index))
        return rows.unique(site).sort(site)

    def expected_files(self, rows: pl.DataFrame, images: list[ImageFile]) -> list[ImageFile]:
        """Returns the files of the sites in the metadata; missing, duplicate and unlisted files become findings."""
        self.sites = set(rows.select("plate_id", "well_id", "site_index").rows())
        by_site: dict[Site, list[ImageFile]] = defaultdict(list)
        for image in images:
            by_site[image.plate_id, image.well_id, image.site_index].append(image)
        for site in sorted(by_site.keys() - self.sites):
            names = ", ".join(image.path for image in by_site[site][:3])
            message = f"{_called(site)}: {len(by_site[site])} images but no row in the metadata ({names})"
            self.add("images_without_row", message, "file_ignored", site=site)
        for site in sorted(self.sites):
            self._expect_channels(site, by_site.get(site, []))
        self._expect_planes(images)
        return [image for site in sorted(self.sites) for image in by_site.get(site, []) if image.channel_index]

    def _expect_channels(self, site: Site, images: list[ImageFile]) -> None:
        if not images:
            message = f"{_called(site)}: a row in the metadata but no images"
            self.add("row_without_images", message, "site_dropped", site=site)
            return
        by_channel: dict[int, list[ImageFile]] = defaultdict(list)
        for image in images:
            by_channel[image.channel_index].append(image)
        names = self.imaging.channel_names
        for channel, name in enumerate(names, start=1):
            if channel not in by_channel:
                message = f"{_called(site)}: no image of channel {channel} ({name})"
                self.add("missing_image", message, "site_dropped", at=ImageFile(*site, channel, ""))
        for image in by_channel.pop(0, []):
            message = (
                f"{image.shown_path}: channel {image.channel_key}; expected {len(names)} channels: {', '.join(names)}"
            )
            self.add("unexpected_file", message, "file_ignored", at=image)
        for channel, same in sorted(by_channel.items()):
            planes = Counter(image.z_index for image in same)
            if max(planes.values()) > 1:
                shown = ", ".join(image.shown_path for image in same)
                message = (
                    f"{_called(site)} channel {channel}: {len(same)} files for one image ({shown}); keep one of them "
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
                what = f"planes {sorted(set(found))}; expected {list(usual[0][0])} as in most images"
                message = f"{_called(site)} channel {channel}: {what}"
                self.add("missing_image", message, "site_dropped", at=ImageFile(*site, channel, ""))

    def images(self, scanned: list[ScannedImage]) -> None:
        """Adds findings for images that are damaged, differ in size or type, or are copies of another image."""
        form = usual_form(scanned)
        size = self.policy.image_size_px or (form[:2] if form else (0, 0))
        for image in scanned:
            if image.error is not None:
                self.add("truncated_image", image.error, "site_dropped", at=image.file)
            elif (image.height, image.width) != size:
                message = (
                    f"{image.file.shown_path}: {image.height} x {image.width} pixels; expected {size[0]} x {size[1]}"
                )
                self.add("wrong_size", message, "site_dropped", at=image.file)
            elif form is not None and image.dtype != form[2]:
                message = f"{image.file.shown_path}: {image.dtype}; expected {form[2]} as in the rest of the experiment"
                self.add("wrong_dtype", message, "site_dropped", at=image.file)
            elif image.is_constant:
                message = (
                    f"{image.file.shown_path}: all pixels are equal, so channel {self._channel(image)} shows nothing"
                )
                self.add("blank_image", message, "site_dropped", at=image.file)
        self._copies(scanned)

    def _channel(self, image: ScannedImage) -> str:
        return f"{image.file.channel_index} ({self.imaging.channel_names[image.file.channel_index - 1]})"

    def _copies(self, scanned: list[ScannedImage]) -> None:
        by_content: dict[tuple[int, int], list[ScannedImage]] = defaultdict(list)
        for image in scanned:
            if image.error is None and not image.is_constant:
                by_content[image.n_bytes, image.crc32c].append(image)
        for same in by_content.values():
            sites = {(image.file.plate_id, image.file.well_id, image.file.site_index) for image in same}
            if len(sites) == 1 and len({image.file.channel_index for image in same}) == 1:
                continue  # two names of one image, such as w1 and w01, which are named already
            where = "in other sites" if len(sites) > 1 else "in another channel of the site"
            names = ", ".join(image.file.shown_path for image in same[:N_NAMED])
            more = f" and {len(same) - N_NAMED} more" if len(same) > N_NAMED else ""
            for image in same:
                message = f"{image.file.shown_path}: the same content, byte for byte, as {where} ({names}{more})"
                self.add("duplicate_image", message, "site_dropped", at=image.file)

    def dropped_sites(self) -> set[Site]:
        """Returns the sites with at least one finding that drops them."""
        found = {finding.site for finding in self.findings if finding.consequence == "site_dropped"}
        return {site for site in self.sites if site in found}

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


def _called(site: Site) -> str:
    return f"{site[0]} {site[1]} site {site[2]}"
