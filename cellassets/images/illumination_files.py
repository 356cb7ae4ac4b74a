"""Estimates the illumination functions of a landed experiment from its images, and writes them where its layout says.

There is one function per plate and channel. Images are read one at a time. Whether images are divided by the functions
is decided in `experiment.yaml`; nothing is decided here.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import UInt
from upath import UPath

from cellassets.errors import ImageError, LayoutError, StorageRefused
from cellassets.images.illumination_estimate import MeanImage
from cellassets.images.writer import SourceImage, read_projected, read_unchecked
from cellassets.progress import Progress, no_progress
from cellassets.screens.illumination import is_there, path_of_function
from cellassets.screens.landed import ImageFile, LandedScreen
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.planes import decode_content, read_content
from cellassets.storage.artifact import write_bytes

SEED = 0  # of the sample of images
UNUSABLE = "none of its images can be used; copy them again, or exclude the plate in experiment.yaml"
DARK = "most places have no light in its {} images; copy them again, or exclude the plate in experiment.yaml"

SiteImages = Mapping[int, Sequence[ImageFile]]  # planes by number of the channel, from 0


@dataclass(frozen=True)
class PlateFunction:
    """What became of the illumination function of one channel of one plate.

    Attributes:
        experiment_id: the experiment.
        plate_id: the plate.
        channel_name: the channel.
        path: its file.
        is_applied: true if the experiment's images are divided by it when they are stored.
        outcome: `written`; `kept` where there was one already; `refused` where the images give none.
        reason: why it was refused.
        n_images: images that it was estimated from.
        unevenness_frac: standard deviation of the function, as a fraction of its mean.
        uncertainty_frac: standard error of the function, as a fraction of its mean; None for one image.
    """

    experiment_id: str
    plate_id: str
    channel_name: str
    path: str
    is_applied: bool
    outcome: Literal["written", "kept", "refused"]
    reason: str | None = None
    n_images: int = 0
    unevenness_frac: float | None = None
    uncertainty_frac: float | None = None


@dataclass(frozen=True)
class IlluminationWriter:
    """Writes the functions of one experiment.

    Attributes:
        landing: the landing zone.
        experiment_id: name of the experiment's folder.
        smoothing_frac: width of the median filter, as a fraction of the image's height and width.
        max_images: largest number of images that are read per plate and channel.
        is_replacing: true to replace functions that exist.
        skipped: receives why an image was not used.
        progress: receives the number of images read.
    """

    landing: UPath
    experiment_id: str
    smoothing_frac: float
    max_images: int
    is_replacing: bool = False
    skipped: list[str] = field(default_factory=list)
    progress: Progress = no_progress

    @property
    def folder(self) -> UPath:
        """The experiment's folder."""
        return self.landing / self.experiment_id

    def write(self) -> Iterator[PlateFunction]:
        """Yields what became of each function, plate by plate; a file is complete or absent.

        Raises:
            LayoutError: the experiment cannot be read, or its layout has no paths for functions, or one path for two.
            ImageError: the images of a plate differ in size or depth.
        """
        screen = choose_layout(self.landing, self.experiment_id).read(self.landing, self.experiment_id)
        plates = _sites_by_plate(screen)
        if not plates:
            message = (
                f"{self.folder}: no image of a plate that the metadata name; copy the images, or correct the names"
            )
            raise LayoutError(message)
        paths = {plate: self._paths(screen, plate) for plate in plates}
        self._refuse_shared([path for some in paths.values() for path in some])
        for plate, sites in plates.items():
            wanted = [channel for channel, path in enumerate(paths[plate]) if self.is_replacing or not is_there(path)]
            means = self._mean_images(plate, screen.imaging.z_projection, sites, wanted)
            for channel, path in enumerate(paths[plate]):
                is_applied, name = screen.imaging.illumination is not None, screen.imaging.channel_names[channel]
                kept = PlateFunction(self.experiment_id, plate, name, str(path), is_applied, "kept")
                yield self._written(kept, path, means.get(channel)) if channel in wanted else kept

    def _paths(self, screen: LandedScreen, plate_id: str) -> list[UPath]:
        templates = screen.illumination or screen.imaging.illumination
        if not templates:
            message = f"{self.folder}: the layout {screen.layout_name} has no paths for illumination functions"
            raise LayoutError(message)
        return [path_of_function(self.folder, plate_id, template) for template in templates]

    def _refuse_shared(self, paths: Sequence[UPath]) -> None:
        path, n_functions = Counter(map(str, paths)).most_common(1)[0]
        if n_functions > 1:
            message = (
                f"{path}: {n_functions} illumination functions would be this file; set illumination_path in "
                "experiment.yaml to a path with {plate} and {channel}"
            )
            raise LayoutError(message)

    def _mean_images(
        self, plate_id: str, projection: str | None, sites: Sequence[SiteImages], channels: Sequence[int]
    ) -> dict[int, MeanImage]:
        """Returns the mean image of each channel that has an image that can be used."""
        means: dict[int, MeanImage] = {}
        reader = _PlateReader(self.folder, projection, self.skipped)
        chosen = [sites[number] for number in sample(len(sites), self.max_images, seed=SEED)]
        images = [(channel, site[channel]) for site in chosen for channel in channels if channel in site]
        for number, (channel, planes) in enumerate(images, start=1):
            image = reader.read(planes)
            if image is not None and not means.setdefault(channel, MeanImage(image.shape)).add(image):
                self.skipped.append(f"{planes[0].shown_path}: all its pixels are equal")
            self.progress(number, len(images), f"images of {plate_id} read")
        return means

    def _written(self, kept: PlateFunction, path: UPath, mean: MeanImage | None) -> PlateFunction:
        if mean is None or not mean.n_images:
            return replace(kept, outcome="refused", reason=UNUSABLE)
        found = mean.estimate(self.smoothing_frac)
        if found is None:
            return replace(kept, outcome="refused", reason=DARK.format(mean.n_images))
        content = io.BytesIO()
        np.save(content, found.function)
        write_bytes(path, content.getvalue())
        return replace(
            kept,
            outcome="written",
            n_images=mean.n_images,
            unevenness_frac=found.unevenness_frac,
            uncertainty_frac=found.uncertainty_frac,
        )


@dataclass
class _PlateReader:
    """Reads images of one plate, which have one size and depth, into the same memory."""

    folder: UPath
    projection: str | None
    skipped: list[str]
    pixels: UInt[np.ndarray, "y x"] | None = None
    first: str = ""

    def read(self, planes: Sequence[ImageFile]) -> UInt[np.ndarray, "y x"] | None:
        """Returns the projection of the planes of one image; None for one that cannot be used."""
        if len({plane.z_index for plane in planes}) < len(planes):
            self.skipped.append(f"{', '.join(plane.shown_path for plane in planes)}: several files for one image")
            return None
        try:
            if self.pixels is None:
                self.pixels, self.first = self._decoded(planes[0]), planes[0].shown_path
            sources = [SourceImage(plane.path, 0, 0, plane.part) for plane in planes]
            read_projected(self.folder, sources, self.projection, out=self.pixels, read=read_unchecked)
        except (ConnectionError, StorageRefused):  # says nothing about the image
            raise
        except OSError as error:
            self._refuse_other_form(planes)
            self.skipped.append(str(error))
            return None
        return self.pixels

    def _decoded(self, plane: ImageFile) -> UInt[np.ndarray, "y x"]:
        return decode_content(read_content(self.folder, plane.path, plane.part), plane.part, source=plane.shown_path)

    def _refuse_other_form(self, planes: Sequence[ImageFile]) -> None:
        """Raises an ImageError for a plane that is whole and not of the form of the others."""
        for plane in planes:
            try:
                found = self._decoded(plane)
            except OSError:
                continue
            known = self.pixels
            if known is not None and (found.shape, found.dtype) != (known.shape, known.dtype):
                message = (
                    f"{plane.shown_path}: {found.shape[0]} x {found.shape[1]} pixels of {found.dtype}; {self.first} of "
                    f"the same plate: {known.shape[0]} x {known.shape[1]} of {known.dtype}. A function fits one size: "
                    "export the images again, or exclude the well in experiment.yaml"
                )
                raise ImageError(message)


def _sites_by_plate(screen: LandedScreen) -> dict[str, list[SiteImages]]:
    """Returns the images of each plate that the metadata name, site by site in the order of wells and sites."""
    plates = set(screen.sites["plate_id"])
    found: dict[str, dict[tuple[str, int], dict[int, list[ImageFile]]]] = defaultdict(lambda: defaultdict(dict))
    for image in sorted(screen.listing.images, key=lambda image: image.z_index or 0):
        if image.channel_index and image.plate_id in plates:
            site = found[image.plate_id][image.well_id, image.site_index]
            site.setdefault(image.channel_index - 1, []).append(image)
    return {plate: [sites[place] for place in sorted(sites)] for plate, sites in sorted(found.items())}


def sample(n_sites: int, n_wanted: int, *, seed: int) -> list[int]:
    """Returns the number of one random site from each of `n_wanted` stretches of equal length; all if they are no more.

    Every n-th site would be the same site of each well, or of the same columns.
    """
    if n_sites <= n_wanted:
        return list(range(n_sites))
    starts = np.arange(n_wanted + 1) * n_sites // n_wanted
    chosen: list[int] = np.random.default_rng(seed).integers(starts[:-1], starts[1:]).tolist()
    return chosen
