"""Lists the planes of OME-Zarr plates (HCS metadata, versions 0.4 and 0.5). No pixel is read here.

Source: Next-generation file formats, https://ngff.openmicroscopy.org/0.5 and /0.4: plate, well and multiscales
metadata.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.landed import StatedImage, channel_key
from cellassets.screens.layouts.definition import ImagePlates
from cellassets.screens.layouts.folders import walk_files
from cellassets.screens.layouts.template import compile_template
from cellassets.storage.paths import resolve_below

AXES = "tczyx"
UNITS_UM = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3}
COPY_AGAIN = "copy the plate again"
MALFORMED = (LayoutError, KeyError, ValueError, IndexError, TypeError, AttributeError)


def find_planes(
    folder: UPath,
    images: ImagePlates,
    add: Callable[..., None],
    others: list[tuple[str, str]],
    *,
    functions: str,
) -> list[StatedImage]:
    """Returns what each image says of its channels and pixels, after adding every plane of every plate in a folder.

    Args:
        folder: the experiment's folder.
        images: where plates are.
        add: receives the fields of a plane, the path of its array and the part of the array.
        others: receives path and reason of what cannot be read.
        functions: folder of the illumination functions, which is not a plate, whatever the template says.

    Raises:
        LayoutError: the metadata of a plate cannot be read.
    """
    template = compile_template(images.zarr)
    depth = len(template.parts)
    stated: list[StatedImage] = []
    for path in walk_files(folder, others, is_wanted=lambda name: name.count("/") + 1 < depth):
        fields = template.match(path.rstrip("/")) if path.endswith("/") else None
        if fields is not None and (not f"{functions}/".startswith(path) or _is_group(folder / path)):
            stated += _add_plate(folder, path.rstrip("/"), fields["plate"], add, others)
    return stated


def _add_plate(
    folder: UPath, path: str, plate_id: str, add: Callable[..., None], others: list[tuple[str, str]]
) -> list[StatedImage]:
    plate = _ome(folder, path).get("plate")
    if plate is None:
        message = (
            f"{folder / path}: no plate metadata in it; expected an OME-Zarr plate of version 0.4 or 0.5; {COPY_AGAIN}"
        )
        raise LayoutError(message)
    try:
        wells = [str(entry["path"]) for entry in plate["wells"]]
    except (KeyError, TypeError) as error:
        message = f"{folder / path}: plate metadata without the paths of its wells ({error!r}); {COPY_AGAIN}"
        raise LayoutError(message) from error
    stated: list[StatedImage] = []
    for well in wells:
        well_path = f"{path}/{well}"
        try:
            fields = [str(field["path"]) for field in _ome(folder, well_path)["well"]["images"]]
        except MALFORMED as error:
            others.append((well_path, f"a well of the plate without metadata ({error!r}); {COPY_AGAIN}"))
            continue
        for number, field in enumerate(fields, start=1):
            names = {"plate": plate_id, "well": well.replace("/", ""), "site": str(number)}
            stated += _add_image(folder, f"{well_path}/{field}", names, add, others)
    return stated


def _add_image(
    folder: UPath, place: str, names: Mapping[str, str], add: Callable[..., None], others: list[tuple[str, str]]
) -> list[StatedImage]:
    """Returns what an image says, after adding every plane of it; nothing for one that cannot be read."""
    try:
        array, axes, labels, shape, pixel_size_um = _image(folder, place)
    except MALFORMED as error:
        others.append((place, f"an image of the plate that cannot be read ({error}); {COPY_AGAIN}"))
        return []
    for channel in range(shape.get("c", 1)):
        for z in range(shape.get("z", 1)):
            index = {"t": 0, "c": channel, "z": z}
            part = " ".join(["array", *(f"{axis} {index[axis]}" for axis in "czt" if axis in axes)])
            plane = {"z": str(z)} if shape.get("z", 1) > 1 else {}
            add({**names, "channel": labels[channel], **plane}, array, part=part)
    return [StatedImage(names["plate"], place, tuple(map(channel_key, labels)), pixel_size_um)]


def _image(folder: UPath, place: str) -> tuple[str, str, list[str], Mapping[str, int], float | None]:
    """Returns the path of the full array of an image, axes, labels of channels, size by axis, and width of a pixel."""
    ome = _ome(folder, place)
    scales = ome["multiscales"][0]
    axes = "".join(axis["name"] if isinstance(axis, dict) else axis for axis in scales.get("axes", AXES))
    array = f"{place}/{scales['datasets'][0]['path']}"
    shape = dict(zip(axes, _shape(folder, array), strict=True))
    if shape.get("t", 1) > 1:
        message = f"{place}: {shape['t']} time points; expected one"
        raise LayoutError(message)
    return array, axes, _labels(ome, shape.get("c", 1)), shape, _pixel_size_um(scales, axes)


def _pixel_size_um(scales: Mapping[str, Any], axes: str) -> float | None:
    """Returns the width of a pixel of the full array, None where there is no readable scale with a unit of length.

    Source: OME-NGFF 0.5, multiscales metadata: scales of the array and of all arrays are multiplied; UDUNITS-2 names.
    """
    x = axes.find("x")
    try:
        unit = UNITS_UM[scales["axes"][x]["unit"]]
        own = _scales(scales["datasets"][0].get("coordinateTransformations"), x)
        size = unit * own[0] * math.prod(_scales(scales.get("coordinateTransformations"), x))
    except MALFORMED:  # the pixels can be read all the same
        return None
    return size if 0 < size < math.inf else None


def _scales(transformations: Any, axis: int) -> list[float]:
    return [float(each["scale"][axis]) for each in transformations or () if each["type"] == "scale"]


def _labels(ome: Mapping[str, Any], n_channels: int) -> list[str]:
    """Returns the label of each channel; its number where the image has no labels."""
    channels = ome.get("omero", {}).get("channels", [])
    if not channels:
        return [str(number) for number in range(1, n_channels + 1)]
    labels = [str(each.get("label", number)) for number, each in enumerate(channels, start=1)]
    if len(labels) != n_channels or len(set(labels)) != n_channels:
        message = f"channel labels {labels}; expected {n_channels} that differ; correct `omero` in its metadata"
        raise LayoutError(message)
    return labels


def _shape(folder: UPath, array: str) -> list[int]:
    for name in ("zarr.json", ".zarray"):
        found = _json(resolve_below(folder, array) / name)
        if found is not None:
            return [int(size) for size in found["shape"]]
    message = f"{folder / array}: no array there; {COPY_AGAIN}"
    raise LayoutError(message)


def _ome(folder: UPath, path: str) -> dict[str, Any]:
    """Returns the OME metadata of a group: `attributes.ome` of version 0.5, or the attributes of version 0.4."""
    place = resolve_below(folder, path)
    new, old = _json(place / "zarr.json"), _json(place / ".zattrs")
    if new is not None:
        return dict(new.get("attributes", {}).get("ome", {}))
    if old is not None:
        return old
    message = f"{folder / path}: no zarr.json and no .zattrs in it; {COPY_AGAIN}"
    raise LayoutError(message)


def _is_group(place: UPath) -> bool:
    return any((place / name).exists() for name in ("zarr.json", ".zattrs"))


def _json(path: UPath) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except ValueError as error:
        message = f"{path}: not valid JSON ({error}); {COPY_AGAIN}"
        raise LayoutError(message) from error
    return found if isinstance(found, dict) else None
