"""Documents about images: the wells of a plate, and the pixels of one site at one level of detail."""

from functools import lru_cache

import numpy as np
import polars as pl

from cellassets.access.images import OpenImages
from cellassets.errors import DatasetError
from cellassets.explorer.arrays import Document, encoded
from cellassets.exporting.display import channel_displays
from cellassets.exporting.pyramid import SMALL_ENOUGH, halved


def plate(images: OpenImages, plate_id: str) -> Document:
    """Returns the channels, contrast limits and wells of a plate.

    Limits come from the plate's negative controls, or from all of its wells where it has none.

    Raises:
        DatasetError: the experiment has no such plate.
    """
    store = images.store
    sites = images.sites.with_row_index("row").filter(pl.col("plate_id") == plate_id)
    if sites.is_empty():
        message = f"experiment {store.experiment_id} has no plate {plate_id!r}"
        raise DatasetError(message)
    counts = sites.group_by("well_id").agg(pl.col("site_index").sort(), pl.col("row"))
    wells = images.wells.filter(pl.col("plate_id") == plate_id).join(counts, on="well_id").sort("well_id")
    controls = wells.filter(pl.col("control_kind") == "negative")
    rows = sorted((wells if controls.is_empty() else controls).explode("row")["row"].to_list())
    displays = channel_displays(store, rows)
    return {
        "experiment_id": store.experiment_id,
        "plate_id": plate_id,
        "channel_names": list(store.channel_names),
        "colours": [display.colour for display in displays],
        "contrast": [{"low": display.low, "high": display.high} for display in displays],
        "dtype": store.dtype,
        "max_value": max(display.top for display in displays),
        "height": store.height,
        "width": store.width,
        "pixel_size_um": store.imaging.pixel_size_um,
        "n_levels": n_levels(store.height, store.width),
        "wells": {
            well["well_id"]: {
                "sites": well["site_index"],
                "perturbation_id": well["perturbation_id"],
                "control_kind": well["control_kind"],
            }
            for well in wells.to_dicts()
        },
    }


def site(images: OpenImages, plate_id: str, well_id: str, site_index: int, level: int) -> Document:
    """Returns all channels of one site.

    Args:
        images: the images of the experiment.
        plate_id: the plate.
        well_id: the well.
        site_index: 1-based.
        level: 0 for full resolution; each further level has half of the height and width.

    Raises:
        DatasetError: there is no such image or level.
    """
    n = n_levels(images.store.height, images.store.width)
    if not 0 <= level < n:
        message = f"images of {images.store.experiment_id} have levels 0 to {n - 1}; asked for {level}"
        raise DatasetError(message)
    planes = images.store.read(images.rows(plate_id, well_id, site_index))[0]
    for _ in range(level):
        planes = halved(planes)
    return {"planes": encoded(planes)}


@lru_cache
def n_levels(height: int, width: int) -> int:
    """Returns the number of levels: the shorter side of the last one is below 256 pixels."""
    shorter = min(height, width)
    return 1 + max(0, int(np.ceil(np.log2((shorter + 1) / SMALL_ENOUGH))))
