"""Classical features in CellProfiler's manner, by cp_measure on scikit-image's segments.

Nuclei are segmented in the DNA channel, cells are nuclei grown outwards. Every measure of an object becomes two
features of the site: the median over its objects, and their median absolute deviation. On two cores a site of 192
pixels and six channels takes about 50 ms; a third of it is texture, a third granularity. Shape is measured of nuclei
alone: that of a grown cell says how crowded it is and how far it was let grow.

Source: Carpenter et al. (2006), Genome Biology 7:R100, for the measures; `cp_measure` has CellProfiler's definitions.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8
from pydantic import ValidationError

from cellassets.errors import RegistryError
from cellassets.quality.nuclei import segment_nuclei, usual_diameter
from cellassets.training.recipe import ClassicalParameters, NormalisationKind
from cellassets.training.spec import SPEC_NAME

SITES_PER_PROCESS = 16
SITES_PER_TASK = 4  # few, so that no process waits long for another
# where an object lies in the site says nothing about it; raw moments are its place and size once more
NO_FEATURES = ("Location_", "Center_", "BoundingBox", "SpatialMoment", "CentralMoment", "Orientation", "InertiaTensor_")
Objects = Mapping[str, Int32[np.ndarray, "y x"]]


class ClassicalEncoder:
    """Measures sites in as many processes as there are cores."""

    normalisation: NormalisationKind = "site"
    precision = "fp64"
    device = "cpu"

    def __init__(self, parameters: ClassicalParameters) -> None:
        self.parameters = parameters
        self.n_channels = parameters.n_channels
        n_processes = os.cpu_count() or 1
        self.batch_size = SITES_PER_PROCESS * n_processes
        self._pool = ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"))

    @classmethod
    def load(cls, folder: Path) -> "ClassicalEncoder":
        """Returns the encoder that a model folder describes.

        Raises:
            RegistryError: `encoder.json` is not that of a classical encoder.
        """
        path = folder / SPEC_NAME
        try:
            return cls(ClassicalParameters.model_validate(json.loads(path.read_bytes())["parameters"]))
        except (KeyError, ValidationError) as error:
            message = f"{path}: not the {SPEC_NAME} of a classical encoder that this version can read: {error}"
            raise RegistryError(message) from error

    def embed(
        self,
        images: UInt8[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],  # noqa: ARG002  grey levels are measured as they are
        std: Float32[np.ndarray, "site channel"],  # noqa: ARG002
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns a vector a site, in the order of `feature_names`."""
        measure = partial(measure_site, parameters=self.parameters)
        measured = self._pool.map(measure, images, chunksize=SITES_PER_TASK)
        return np.stack([np.fromiter(site.values(), np.float32) for site in measured])

    def close(self) -> None:
        """Ends the processes."""
        self._pool.shutdown()


def feature_names(parameters: ClassicalParameters) -> list[str]:
    """Returns the names of a site's features, in their order."""
    rng = np.random.default_rng(0)
    blank = rng.integers(0, 9, (parameters.n_channels, 96, 96), dtype=np.uint8)
    return list(measure_site(blank, parameters))


def measure_site(images: UInt8[np.ndarray, "channel y x"], parameters: ClassicalParameters) -> dict[str, float]:
    """Returns the features of one site by name.

    Without a nucleus the whole site is measured as one object and the count of nuclei is 0; a measure that is not
    finite (the texture of a flat object) counts as 0. So every site has the same finite features.
    """
    images = _downsampled(images, parameters.image_downsample)
    nucleus_image = images[parameters.nucleus_channel]
    diameter = parameters.nucleus_diameter_px or usual_diameter(nucleus_image)
    nuclei = segment_nuclei(nucleus_image, diameter)
    features = {"Nuclei_Count": float(nuclei.max())}
    if nuclei.max() == 0:
        nuclei = np.ones_like(nuclei)
    objects = {"Nuclei": nuclei, "Cells": _grown(nuclei, parameters.cell_growth_px)}
    pixels = images.astype(np.float64) / np.iinfo(images.dtype).max
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # means over empty rims and the like: their values are made 0 below
        measured = {
            name: np.asarray(values, dtype=np.float64)
            for family in parameters.families
            for name, values in MEASURES[family](objects, pixels, parameters)
        }
        return features | _over_objects(measured)


def _intensity(
    objects: Objects, pixels: Float[np.ndarray, "channel y x"], _: ClassicalParameters
) -> Iterator[tuple[str, Any]]:
    from cp_measure.core.measureobjectintensity import get_intensity

    for kind, labels in objects.items():
        for channel, image in enumerate(pixels):
            measured = get_intensity(labels, image, edge_measurements=False)
            yield from _named(f"{kind}_{{name}}_C{channel + 1}", measured)


def _texture(
    objects: Objects, pixels: Float[np.ndarray, "channel y x"], parameters: ClassicalParameters
) -> Iterator[tuple[str, Any]]:
    """Haralick's measures of cells, their mean over the four directions: cells lie in any direction."""
    from cp_measure.core.measuretexture import get_texture

    for channel, image in enumerate(pixels):
        measured = get_texture(
            objects["Cells"], image, scale=parameters.texture_scale_px, gray_levels=parameters.texture_grey_levels
        )
        by_measure: dict[str, list[Any]] = {}
        for name, values in measured.items():
            by_measure.setdefault(name.split("_")[0], []).append(values)
        means = {f"Texture_{name}": np.mean(values, axis=0) for name, values in by_measure.items()}
        yield from _named(f"Cells_{{name}}_C{channel + 1}", means)


def _granularity(
    _objects: Objects, pixels: Float[np.ndarray, "channel y x"], parameters: ClassicalParameters
) -> Iterator[tuple[str, Any]]:
    """Of the whole site, on images of half the size: a step of the spectrum is four pixels."""
    from cp_measure.core.measuregranularity import get_granularity

    half = _halved(pixels)
    whole = np.ones(half.shape[1:], dtype=np.int32)
    for channel, image in enumerate(half):
        measured = get_granularity(
            whole,
            image,
            subsample_size=0.5,
            image_sample_size=0.5,
            granular_spectrum_length=parameters.granularity_spectrum_length,
        )
        yield from _named(f"Image_{{name}}_C{channel + 1}", measured)


def _sizeshape(
    objects: Objects, _pixels: Float[np.ndarray, "channel y x"], _: ClassicalParameters
) -> Iterator[tuple[str, Any]]:
    from cp_measure.core.measureobjectsizeshape import get_sizeshape

    yield from _named("Nuclei_AreaShape_{name}", get_sizeshape(objects["Nuclei"], None))


def _radial_distribution(
    objects: Objects, pixels: Float[np.ndarray, "channel y x"], _: ClassicalParameters
) -> Iterator[tuple[str, Any]]:
    from cp_measure.core.measureobjectintensitydistribution import get_radial_distribution

    for channel, image in enumerate(pixels):
        yield from _named(f"Cells_{{name}}_C{channel + 1}", get_radial_distribution(objects["Cells"], image))


MEASURES: dict[str, Callable[..., Iterator[tuple[str, Any]]]] = {
    "intensity": _intensity,
    "texture": _texture,
    "granularity": _granularity,
    "sizeshape": _sizeshape,
    "radial_distribution": _radial_distribution,
}


def _named(template: str, measured: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, values in measured.items():
        if not name.startswith(NO_FEATURES):
            yield template.format(name=name), values


def _over_objects(measured: Mapping[str, Float[np.ndarray, "object"]]) -> dict[str, float]:
    """Median and median absolute deviation of each measure over the objects that it is finite for; 0 where it is not.

    Measures of as many objects are taken together: a median of one row costs as much as a median of a hundred.
    """
    by_length: dict[int, list[str]] = {}
    for name, values in measured.items():
        by_length.setdefault(len(values), []).append(name)
    summaries: dict[str, tuple[float, float]] = {}
    for names in by_length.values():
        table = np.stack([measured[name] for name in names])
        table[~np.isfinite(table)] = np.nan
        medians = np.nanmedian(table, axis=1)
        deviations = np.nanmedian(np.abs(table - medians[:, None]), axis=1)
        pairs = np.nan_to_num(np.stack([medians, deviations], axis=1)).tolist()
        summaries |= {name: (median, deviation) for name, (median, deviation) in zip(names, pairs, strict=True)}
    return {
        f"{summary}_{name}": value
        for name in measured  # in this order, however many objects the site has
        for summary, value in zip(("Median", "MAD"), summaries[name], strict=True)
    }


def _grown(nuclei: Int32[np.ndarray, "y x"], growth_px: int) -> Int32[np.ndarray, "y x"]:
    from skimage.segmentation import expand_labels

    return expand_labels(nuclei, growth_px).astype(np.int32)


def _downsampled(images: UInt8[np.ndarray, "channel y x"], factor: int) -> UInt8[np.ndarray, "channel h w"]:
    if factor == 1:
        return images
    return _block_means(images, factor).round().astype(images.dtype)


def _halved(pixels: Float[np.ndarray, "channel y x"]) -> Float[np.ndarray, "channel h w"]:
    return _block_means(pixels, 2)


def _block_means(images: np.ndarray, side: int) -> Float[np.ndarray, "channel h w"]:
    height, width = (length // side for length in images.shape[1:])
    blocks = images[:, : height * side, : width * side].reshape(len(images), height, side, width, side)
    return blocks.mean(axis=(2, 4))
