"""The stored images of a deployment: by well as numpy arrays, by plate as Zarr arrays."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import UInt

from cellassets.errors import DatasetError
from cellassets.images.reader import ExperimentStore

if TYPE_CHECKING:
    from cellassets.storage.lake import Published


@dataclass(frozen=True)
class OpenImages:
    """The images of one experiment.

    Attributes:
        published: the publication of its `plate_store`.
    """

    published: "Published"

    @cached_property
    def store(self) -> ExperimentStore:
        """The reader of all sites, by row of `sites`."""
        return ExperimentStore.open(self.published.folder, self.published.record.files, self.published.record.keys[0])

    @property
    def sites(self) -> pl.DataFrame:
        """SITES rows: plate, well and site of each image."""
        return self.store.sites

    @property
    def wells(self) -> pl.DataFrame:
        """WELLS rows: what was done to each well."""
        return self.store.wells

    def rows(self, plate_id: str, well_id: str, site_index: int | None = None) -> list[int]:
        """Returns the rows of `sites` of a well, in the order of its sites.

        Args:
            plate_id: the plate.
            well_id: such as B07.
            site_index: only this site, 1-based.

        Raises:
            DatasetError: the experiment has no image of this well, or of this site.
        """
        is_wanted = (pl.col("plate_id") == plate_id) & (pl.col("well_id") == well_id)
        if site_index is not None:
            is_wanted &= pl.col("site_index") == site_index
        found = self.sites.with_row_index("row").filter(is_wanted).sort("site_index")["row"].to_list()
        if not found:
            site = "" if site_index is None else f", site {site_index}"
            message = f"experiment {self.store.experiment_id} has no image of plate {plate_id}, well {well_id}{site}"
            raise DatasetError(message)
        return found

    def well(self, plate_id: str, well_id: str) -> UInt[np.ndarray, "site channel y x"]:
        """Returns the images of a well; only its own bytes are read.

        Raises:
            DatasetError: the experiment has no image of this well.
            CorruptArtifact: the store is damaged.
        """
        return self.store.read(self.rows(plate_id, well_id))

    def zarr(self, plate_id: str) -> Any:
        """Returns the Zarr array of a plate, [site, channel, y, x]; sites are in the order of `sites` of this plate.

        Raises:
            DatasetError: the experiment has no such plate.
        """
        import zarr

        if plate_id not in set(self.sites["plate_id"]):
            message = f"experiment {self.store.experiment_id} has no plate {plate_id!r}; it has " + ", ".join(
                sorted(self.sites["plate_id"].unique())
            )
            raise DatasetError(message)
        folder = self.published.folder / f"{plate_id}.zarr"
        return zarr.open_array(str(folder), mode="r", storage_options=dict(folder.storage_options) or None)
