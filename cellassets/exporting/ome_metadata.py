"""The metadata of OME-Zarr 0.5: what stands in the attribute `ome` of images, wells and plates.

Names, shapes and numbers in; dictionaries for `zarr.json` out. Nothing is read or written here.

Source: OME-NGFF specification 0.5, https://ngff.openmicroscopy.org/0.5/
"""

from collections.abc import Sequence
from typing import Any

from cellassets.exporting.display import ChannelDisplay
from cellassets.exporting.pyramid import REDUCTION
from cellassets.screens.well import row_letters, well_place

VERSION = "0.5"
AXES = ("c", "y", "x")
METHOD = "Each pixel is the rounded mean of the 2 x 2 pixels of the level before; at odd edges of those that exist."


def image_metadata(
    name: str, *, n_levels: int, pixel_size_um: float | None, channels: Sequence[ChannelDisplay]
) -> dict[str, Any]:
    """Returns the metadata of an image with the axes c, y and x.

    Args:
        name: shown by viewers.
        n_levels: number of levels of the pyramid; level k is the array with the name k.
        pixel_size_um: width of a pixel in micrometres; None where unknown, then positions are in pixels without a unit.
        channels: how each channel is shown.
    """
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    pixel = 1.0 if pixel_size_um is None else pixel_size_um
    datasets = [
        {"path": str(level), "coordinateTransformations": _transformations(pixel, REDUCTION**level)}
        for level in range(n_levels)
    ]
    multiscale = {
        "name": name,
        "axes": [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", **unit} for axis in AXES[1:])],
        "datasets": datasets,
        "type": "mean",
        "metadata": {"description": METHOD},
    }
    omero = {"name": name, "channels": [_channel(channel) for channel in channels], "rdefs": {"model": "color"}}
    return {"version": VERSION, "multiscales": [multiscale], "omero": omero}


def well_metadata(site_indices: Sequence[int]) -> dict[str, Any]:
    """Returns the metadata of a well; each image has the number of its site as its path."""
    return {"version": VERSION, "well": {"images": [{"path": str(site)} for site in site_indices], "version": VERSION}}


def plate_metadata(
    name: str, *, geometry: tuple[int, int], well_ids: Sequence[str], most_fields: int
) -> dict[str, Any]:
    """Returns the metadata of a plate.

    Args:
        name: shown by viewers.
        geometry: rows and columns of the plate; all of them are listed, also those without images.
        well_ids: wells with images.
        most_fields: the largest number of sites of a well.
    """
    plate = {
        "name": name,
        "version": VERSION,
        "rows": [{"name": row_letters(row)} for row in range(geometry[0])],
        "columns": [{"name": f"{column + 1:02d}"} for column in range(geometry[1])],
        "wells": [_well_in_plate(well_id) for well_id in well_ids],
        "field_count": most_fields,
    }
    return {"version": VERSION, "plate": plate}


def well_path(well_id: str) -> str:
    """Returns the path of a well below its plate: B/07 for B07."""
    letters = well_id.rstrip("0123456789")
    return f"{letters}/{well_id[len(letters) :]}"


def _well_in_plate(well_id: str) -> dict[str, Any]:
    row, column = well_place(well_id)
    return {"path": well_path(well_id), "rowIndex": row, "columnIndex": column}


def _transformations(pixel: float, factor: int) -> list[dict[str, Any]]:
    """Returns size and place of the pixels of a level; the centre of its first pixel lies between finer pixels."""
    size, offset = pixel * factor, pixel * (factor - 1) / 2
    scale = {"type": "scale", "scale": [1.0, size, size]}
    return [scale] if factor == 1 else [scale, {"type": "translation", "translation": [0.0, offset, offset]}]


def _channel(channel: ChannelDisplay) -> dict[str, Any]:
    return {
        "label": channel.name,
        "color": channel.colour,
        "active": True,
        "coefficient": 1.0,
        "family": "linear",
        "inverted": False,
        "window": {"min": 0, "max": channel.top, "start": channel.low, "end": channel.high},
    }
