"""The features of one site: segmentation, the families of features, and their summary over the objects.

Nuclei are segmented in the DNA channel, cells are nuclei grown outwards. Every measure of an object becomes two
features of the site: the median over its objects, and their median absolute deviation. Shape is measured on nuclei
only: the shape of a grown cell says how crowded it is and how far it was allowed to grow.

Source: Carpenter et al. (2006), Genome Biology 7:R100, for the measures.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, UInt

from cellassets.encoders.classical.granularity import granularity_spectrum
from cellassets.encoders.classical.intensity import intensity_features
from cellassets.encoders.classical.objects import Objects
from cellassets.encoders.classical.radial import object_rings, radial_features
from cellassets.encoders.classical.shape import shape_features
from cellassets.encoders.classical.texture import object_pairs, texture_features
from cellassets.quality.grey_scale import EIGHT_BITS, GreyScale
from cellassets.quality.nuclei import segment_nuclei
from cellassets.training.recipe import ClassicalParameters

Images = UInt[np.ndarray, "channel y x"]
ObjectKinds = Mapping[str, Objects]
Measured = Iterator[tuple[str, Float[np.ndarray, "object"]]]


@dataclass(frozen=True)
class Acquisition:
    """What is to be known about the images of an experiment to measure its sites.

    Attributes:
        nucleus_channel: number of the channel in which nuclei are found, from 0.
        nucleus_diameter_px: diameter of a typical nucleus in pixels of the site after downsampling.
        scale: where the grey levels end.
    """

    nucleus_channel: int
    nucleus_diameter_px: float
    scale: GreyScale = EIGHT_BITS


def feature_names(parameters: ClassicalParameters) -> list[str]:
    """Returns the names of a site's features, in their order."""
    rng = np.random.default_rng(0)
    blank = rng.integers(0, 9, (parameters.n_channels, 96, 96), dtype=np.uint8)
    return list(measure_site(blank, parameters, Acquisition(0, 8.0)))


def measure_site(
    images: UInt[np.ndarray, "channel y x"], parameters: ClassicalParameters, acquisition: Acquisition
) -> dict[str, float]:
    """Returns the features of one site by name.

    Without a nucleus the whole site is measured as one object and the count of nuclei is 0. A measure that is not
    finite (the texture of a black object, for example) counts as 0. So every site has the same finite features.

    Args:
        images: grey levels of each channel.
        parameters: families of features and their settings. Channel and diameter of nuclei are those of `acquisition`.
        acquisition: how the images of the experiment were taken.
    """
    images = _downsampled(images, parameters.image_downsample)
    dna = acquisition.scale.in_8_bit_levels(images[acquisition.nucleus_channel])
    nuclei = segment_nuclei(dna, acquisition.nucleus_diameter_px)
    features = {"Nuclei_Count": float(nuclei.max())}
    if nuclei.max() == 0:
        nuclei = np.ones_like(nuclei)
    kinds = {"Nuclei": Objects(nuclei), "Cells": Objects(_grown(nuclei, parameters.cell_growth_px))}
    return features | _over_objects(dict(measure_objects(kinds, images, parameters, white=acquisition.scale.white)))


def measure_objects(kinds: ObjectKinds, images: Images, parameters: ClassicalParameters, *, white: int) -> Measured:
    """Yields each measure by name, with one value per object. Values need not be finite.

    Args:
        kinds: `Nuclei` and `Cells`, each with at least one object.
        images: grey levels of each channel.
        parameters: families of features and their settings.
        white: the end of the scale of grey levels, which counts as 1; higher levels count as `white`.
    """
    images = np.minimum(images, white)
    for family in parameters.families:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # divisions by empty sums: such values are not finite and become 0 later
            measured = list(MEASURES[family](kinds, images, white, parameters))
        yield from measured


def _intensity(kinds: ObjectKinds, images: Images, white: int, _: ClassicalParameters) -> Measured:
    for kind, objects in kinds.items():
        for channel, image in enumerate(images, start=1):
            for name, values in intensity_features(objects, image, white=white).items():
                yield f"{kind}_{name}_C{channel}", values


def _texture(kinds: ObjectKinds, images: Images, white: int, parameters: ClassicalParameters) -> Measured:
    cells = kinds["Cells"]
    pairs = object_pairs(cells, parameters.texture_scale_px)
    for channel, image in enumerate(images, start=1):
        measured = texture_features(cells, pairs, image, n_levels=parameters.texture_grey_levels, white=white)
        for name, values in measured.items():
            yield f"Cells_{name}_C{channel}", values


def _granularity(_: ObjectKinds, images: Images, white: int, parameters: ClassicalParameters) -> Measured:
    """Yields the spectrum of the whole site, on images of half the size: one step is four pixels."""
    half = _block_means(images / white, 2)
    spectra = granularity_spectrum(half, parameters.granularity_spectrum_length)
    for channel, spectrum in enumerate(spectra, start=1):
        for step, value in enumerate(spectrum, start=1):
            yield f"Image_Granularity_{step}_C{channel}", np.array([value])


def _sizeshape(kinds: ObjectKinds, _images: Images, _white: int, _: ClassicalParameters) -> Measured:
    for name, values in shape_features(kinds["Nuclei"]).items():
        yield f"Nuclei_AreaShape_{name}", values


def _radial_distribution(kinds: ObjectKinds, images: Images, white: int, _: ClassicalParameters) -> Measured:
    rings = object_rings(kinds["Cells"])
    for channel, pixels in enumerate(images / white, start=1):
        for name, values in radial_features(rings, pixels).items():
            yield f"Cells_{name}_C{channel}", values


MEASURES: dict[str, Callable[[ObjectKinds, Images, int, ClassicalParameters], Measured]] = {
    "intensity": _intensity,
    "texture": _texture,
    "granularity": _granularity,
    "sizeshape": _sizeshape,
    "radial_distribution": _radial_distribution,
}


def _over_objects(measured: Mapping[str, Float[np.ndarray, "object"]]) -> dict[str, float]:
    """Median and median absolute deviation of each measure over the objects for which it is finite; 0 without any.

    Measures of equally many objects are summarised together: a median of one row costs as much as that of a hundred.
    """
    by_length: dict[int, list[str]] = {}
    for name, values in measured.items():
        by_length.setdefault(len(values), []).append(name)
    summaries: dict[str, list[float]] = {}
    for names in by_length.values():
        table = np.stack([measured[name] for name in names]).astype(np.float64)
        table[~np.isfinite(table)] = np.nan
        medians = _median_of_numbers(table)
        deviations = _median_of_numbers(np.abs(table - medians[:, None]))
        pairs = np.nan_to_num(np.stack([medians, deviations], axis=1)).tolist()
        summaries |= dict(zip(names, pairs, strict=True))
    return {
        f"{summary}_{name}": value
        for name in measured  # in this order, however many objects the site has
        for summary, value in zip(("Median", "MAD"), summaries[name], strict=True)
    }


def _median_of_numbers(table: Float[np.ndarray, "measure object"]) -> Float[np.ndarray, "measure"]:
    """The median of each row without its NaN; NaN where a row has nothing else. Much faster than `np.nanmedian`."""
    n_numbers = np.isfinite(table).sum(axis=1)
    ordered = np.sort(table, axis=1)  # NaN comes last
    row = np.arange(len(table))
    return (ordered[row, np.maximum(n_numbers - 1, 0) // 2] + ordered[row, n_numbers // 2 * (n_numbers > 0)]) / 2


def _grown(nuclei: Int32[np.ndarray, "y x"], growth_px: int) -> Int32[np.ndarray, "y x"]:
    from skimage.segmentation import expand_labels

    return expand_labels(nuclei, growth_px).astype(np.int32)


def _downsampled(images: Images, factor: int) -> Images:
    if factor == 1:
        return images
    return _block_means(images, factor).round().astype(images.dtype)


def _block_means(images: np.ndarray, side: int) -> Float[np.ndarray, "channel h w"]:
    height, width = (length // side for length in images.shape[1:])
    blocks = images[:, : height * side, : width * side].reshape(len(images), height, side, width, side)
    return blocks.mean(axis=(2, 4))
