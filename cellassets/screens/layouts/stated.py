"""What the metadata of images say of how they were taken, where the layout does not say it: channels and pixel size.

OME-Zarr plates have such metadata; `zarr_plates.py` reads them, one `StatedImage` per image. An experiment has one
order of channels and one pixel size, so images that differ are refused here.
"""

import math
from collections.abc import Collection, Sequence

from cellassets.errors import LayoutError
from cellassets.screens.landed import StatedImage

SAME_SIZE = 1e-3  # smaller relative differences are rounding; no size of a nucleus depends on them


def stated_channels(images: Sequence[StatedImage], ignored: Collection[str] = ()) -> list[str]:
    """Returns the keys of the channels in the order that all plates have; none where no image says it.

    An image may lack a channel. That costs its site, but not the order.

    Args:
        images: what each image says.
        ignored: channels that do not count.

    Raises:
        LayoutError: two images have different orders, or two plates different channels; the message names both.
    """
    plates: dict[str, tuple[list[str], str]] = {}
    for image in images:
        keys = [key for key in image.channel_keys if key not in ignored]
        known, place = plates.get(image.plate_id, (keys, image.path))
        if keys != known and [key for key in keys if key in known] != [key for key in known if key in keys]:
            _refuse_channels((place, known), (image.path, keys))
        longer, shorter = (keys, known) if len(keys) > len(known) else (known, keys)
        plates[image.plate_id] = [*longer, *(key for key in shorter if key not in longer)], place
    if not plates:
        return []
    (first, first_place), *others = plates.values()
    for keys, place in others:
        if keys != first:
            _refuse_channels((first_place, first), (place, keys))
    return first


def stated_pixel_size(images: Sequence[StatedImage]) -> float | None:
    """Returns the width of a pixel in micrometres, None where no image says it.

    Raises:
        LayoutError: two images say different sizes, or one says none; the message names both.
    """
    if not images:
        return None
    first = images[0]
    for image in images:
        if not _is_same(first.pixel_size_um, image.pixel_size_um):
            message = (
                f"the pixel size is {_shown(first.pixel_size_um)} in {first.path} and {_shown(image.pixel_size_um)} in "
                f"{image.path}, as their OME metadata say; expected one size. Set pixel_size_um in experiment.yaml, or "
                "land images of different sizes as experiments of their own"
            )
            raise LayoutError(message)
    return first.pixel_size_um


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME_SIZE)


def _shown(size: float | None) -> str:
    return "not known" if size is None else f"{size:g} um"


def _refuse_channels(one: tuple[str, Sequence[str]], other: tuple[str, Sequence[str]]) -> None:
    message = (
        f"the channels are {', '.join(one[1])} in {one[0]} and {', '.join(other[1])} in {other[0]}, as their OME "
        "metadata say; expected the same in one order. Declare `channels` in experiment.yaml, with these labels as keys"
    )
    raise LayoutError(message)
