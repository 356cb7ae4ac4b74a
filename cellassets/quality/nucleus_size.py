"""How large a nucleus of an experiment is in pixels: as given, or estimated from its images.

One value holds for a whole experiment, so that all its sites are measured alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real

from cellassets.errors import ConfigError
from cellassets.images.reader import ExperimentStore
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.nuclei import bright_threshold

SizeSource = Literal["given_um", "given_px", "estimated", "assumed"]
DIAMETER_FRAC = 1 / 12
MIN_DIAMETER_PX = 2.0
N_SAMPLED_SITES = 16
SMOOTHING_PX = 1.0
MIN_SOLIDITY = 0.9
MIN_AREA_PX = 12
MIN_SIZE_FRAC = 0.5
MIN_NUCLEI_PER_SITE = 3


@dataclass(frozen=True)
class NucleusSize:
    """The diameter of a typical nucleus, and where it comes from.

    Attributes:
        diameter_px: diameter of the circle with a nucleus' area, in pixels.
        source: `given_um` or `given_px` by the parameters; `estimated` from the images; `assumed`, a twelfth of the
            image's shorter side, if no sampled site has nuclei.
    """

    diameter_px: float
    source: SizeSource


def nucleus_size(
    store: ExperimentStore, channel: int, *, diameter_um: float | None, diameter_px: float | None
) -> NucleusSize:
    """Returns the size of a typical nucleus of an experiment.

    The first one that is possible: micrometres, if the pixel size is known; pixels; the estimate; a twelfth of the
    image's shorter side.

    Args:
        store: the repacked images of the experiment.
        channel: number of the channel with the DNA stain, from 0.
        diameter_um: expected diameter in micrometres.
        diameter_px: expected diameter in pixels.

    Raises:
        ConfigError: the diameter in micrometres is at most two pixels, or wider than the image.
        CorruptArtifact: a shard of the store is damaged.
    """
    pixel_size_um = store.imaging.pixel_size_um
    if diameter_um is not None and pixel_size_um is not None:
        return NucleusSize(_checked(store, diameter_um, pixel_size_um), "given_um")
    if diameter_px is not None:
        return NucleusSize(diameter_px, "given_px")
    scale = GreyScale.of(store.dtype, store.imaging.top_grey_level)
    places = np.unique(np.linspace(0, store.n_sites - 1, N_SAMPLED_SITES).astype(int)).tolist()
    sampled = (scale.in_8_bit_levels(store.read([place])[0, channel]) for place in places)
    estimated = estimated_diameter(sampled)
    if estimated is None:
        return NucleusSize(usual_diameter(store.height, store.width), "assumed")
    return NucleusSize(estimated, "estimated")


def usual_diameter(height: int, width: int) -> float:
    """Returns the diameter that is assumed if nothing is known, in pixels: a twelfth of the image's shorter side."""
    return min(height, width) * DIAMETER_FRAC


def estimated_diameter(images: Iterable[Real[np.ndarray, "y x"]]) -> float | None:
    """Returns the diameter of a typical nucleus in pixels, or None without nuclei.

    It is the median over the images of the median diameter of their nuclei. Nuclei that touch each other are left out
    by their concave outlines. An image with fewer than three nuclei does not count if another one has more.

    Args:
        images: images of the DNA stain, levels from 0 to 255.
    """
    found = [diameters for image in images if len(diameters := _diameters(image))]
    enough = [diameters for diameters in found if len(diameters) >= MIN_NUCLEI_PER_SITE] or found
    return float(np.median([np.median(diameters) for diameters in enough])) if enough else None


def _diameters(image: Real[np.ndarray, "y x"]) -> Float[np.ndarray, "nucleus"]:
    """Diameters of the single nuclei of an image: bright, solid areas that do not touch the edge of the image."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.measure import label, regionprops_table
    from skimage.segmentation import clear_border

    smooth = gaussian_filter(image.astype(np.float32), SMOOTHING_PX)
    threshold, is_contrasted = bright_threshold(smooth)
    if not is_contrasted:
        return np.empty(0)
    labels = clear_border(label(binary_fill_holes(smooth > threshold)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    labels[areas[labels] < MIN_AREA_PX] = 0
    if not labels.any():
        return np.empty(0)
    shapes = regionprops_table(labels, properties=("area", "area_convex"))
    area = np.sort(shapes["area"][shapes["area"] >= MIN_SOLIDITY * shapes["area_convex"]])
    if not area.size:
        return np.empty(0)
    diameter = np.sqrt(4 / np.pi * area)
    middle = diameter[np.searchsorted(area.cumsum(), area.sum() / 2)]  # half of the bright pixels are in smaller areas
    return diameter[diameter >= MIN_SIZE_FRAC * middle]  # specks are many and have hardly any pixels


def _checked(store: ExperimentStore, diameter_um: float, pixel_size_um: float) -> float:
    diameter_px = diameter_um / pixel_size_um
    if not MIN_DIAMETER_PX < diameter_px < min(store.height, store.width):
        message = (
            f"experiment {store.experiment_id}: a nucleus of nucleus_diameter_um {diameter_um:g} is {diameter_px:.3g} "
            f"pixels wide at {pixel_size_um:g} µm per pixel; expected more than {MIN_DIAMETER_PX:g} and less than the "
            f"image's {min(store.height, store.width)} pixels: correct nucleus_diameter_um, or the pixel size in the "
            "layout of the experiment"
        )
        raise ConfigError(message)
    return diameter_px
