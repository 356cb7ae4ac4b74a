"""A landed screen as any layout gives it: its images, its metadata in our terms, and how the images were taken.

These are the data that layouts make and that `cellassets.screens.manifest` checks. A layout in Python returns the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import polars as pl
from upath import UPath

from cellassets.screens.imaging import Imaging

EMPTY = "EMPTY"  # perturbation of untreated wells whose cell is empty, as RxRx1 calls it
SOURCE = "file_name"  # column of `LandedScreen.sites` with the table that a row is from, for messages
PAIR_SEPARATOR = "|"  # separates the two genes of a pair in score tables


def channel_key(text: str) -> str:
    """Returns the key of a channel as files or labels name it; a number has no leading zeros."""
    return str(int(text)) if text.isdigit() else text


@dataclass(frozen=True)
class ImageFile:
    """One plane of an image: where it is, and what it shows.

    Attributes:
        plate_id: the plate.
        well_id: the well, normalised.
        site_index: 1-based.
        channel_index: 1-based number in the imaging's channel names; 0 for a channel that it does not have.
        path: path of the file, relative to the experiment's folder.
        channel_key: the channel as the file's name gives it.
        z_index: number of the plane, as on disk; None where there is one plane.
        part: which part of the file holds the image; None if it is the whole file.
    """

    plate_id: str
    well_id: str
    site_index: int
    channel_index: int
    path: str
    channel_key: str = ""
    z_index: int | None = None
    part: str | None = None

    @property
    def shown_path(self) -> str:
        """Path and part, for messages."""
        return self.path if self.part is None else f"{self.path} ({self.part})"


@dataclass(frozen=True)
class StatedImage:
    """What the metadata of one image say of how it was taken.

    Attributes:
        plate_id: the plate.
        path: path of the image, relative to the experiment's folder.
        channel_keys: its channels, in their order.
        pixel_size_um: width of a pixel in micrometres; None if they do not say it.
    """

    plate_id: str
    path: str
    channel_keys: tuple[str, ...]
    pixel_size_um: float | None


@dataclass(frozen=True)
class Listing:
    """The image files of an experiment.

    Attributes:
        images: the image files.
        others: (path, reason) of every file that is not taken as an image.
        stated: what the metadata of images say; empty for formats without such metadata.
    """

    images: list[ImageFile]
    others: list[tuple[str, str]]
    stated: list[StatedImage] = field(default_factory=list)


@dataclass(frozen=True)
class LandedScreen:
    """A landed experiment, before its images are read.

    Attributes:
        layout_name: the layout that it was read by.
        imaging: channels, pixel size and highest grey level, as declared.
        listing: its image files.
        sites: one row per site that the metadata name, with the columns of a WELLS table, `site_index` and LINE;
            SOURCE, the table of that line, can be missing.
        notes: problems of the metadata that stop nobody.
        column_notes: columns that are not read and probably should be.
        excluded: plates and wells that were left out on purpose, for people.
        illumination: path of each channel's illumination functions, as in the imaging, whether images are corrected
            or not; empty for a layout that has none.
    """

    layout_name: str
    imaging: Imaging
    listing: Listing
    sites: pl.DataFrame
    notes: Sequence[str] = ()
    column_notes: Sequence[str] = ()
    excluded: Sequence[str] = field(default=())
    illumination: tuple[str, ...] = ()


@runtime_checkable
class ScreenLayout(Protocol):
    """What a layout can do. `DeclaredLayout` does it from YAML; a Python package can offer its own."""

    @property
    def name(self) -> str:
        """Name by which `experiment.yaml` chooses it."""
        ...

    def recognises(self, landing: UPath, experiment_id: str) -> bool:
        """Returns true if the experiment looks like this layout."""
        ...

    def read(self, landing: UPath, experiment_id: str) -> LandedScreen:
        """Returns the experiment.

        Raises:
            LayoutError: it cannot be read; the message names the file and the line.
        """
        ...
