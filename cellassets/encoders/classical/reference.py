"""The same measures by cp_measure itself. Slow: only tests and bench/classical_features.py call it.

It says in code which functions of cp_measure, with which settings, the modules of the families must agree with.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt

from cellassets.encoders.classical.objects import Objects
from cellassets.training.recipe import ClassicalParameters, FeatureFamily

# where an object lies in the site says nothing about it; raw moments are its place and size once more
NO_FEATURES = ("Location_", "Center_", "BoundingBox", "SpatialMoment", "CentralMoment", "Orientation", "InertiaTensor_")
Measured = Iterator[tuple[str, Any]]
Pixels = Float[np.ndarray, "channel y x"]


def reference_measures(
    family: FeatureFamily,
    kinds: Mapping[str, Objects],
    images: UInt[np.ndarray, "channel y x"],
    parameters: ClassicalParameters,
    *,
    white: int = 255,
) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns the measures of one family by name, with one value per object.

    Args:
        family: the family of features.
        kinds: `Nuclei` and `Cells`.
        images: grey levels of each channel.
        parameters: settings of the family.
        white: the brightest grey level of the scale.
    """
    pixels = np.minimum(images, white).astype(np.float64) / white
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # divisions by empty sums
        measured = list(REFERENCES[family](kinds, pixels, parameters))
    return {name: np.asarray(values, dtype=np.float64) for name, values in measured}


def _intensity(kinds: Mapping[str, Objects], pixels: Pixels, _: ClassicalParameters) -> Measured:
    from cp_measure.core.measureobjectintensity import get_intensity

    for kind, objects in kinds.items():
        for channel, image in enumerate(pixels, start=1):
            measured = get_intensity(objects.labels, image, edge_measurements=False)
            yield from _named(f"{kind}_{{name}}_C{channel}", measured)


def _texture(kinds: Mapping[str, Objects], pixels: Pixels, parameters: ClassicalParameters) -> Measured:
    from cp_measure.core.measuretexture import get_texture

    settings = {"scale": parameters.texture_scale_px, "gray_levels": parameters.texture_grey_levels}
    for channel, image in enumerate(pixels, start=1):
        by_measure: dict[str, list[Any]] = {}
        for name, values in get_texture(kinds["Cells"].labels, image, **settings).items():
            by_measure.setdefault(name.split("_")[0], []).append(values)
        means = {f"Texture_{name}": np.mean(values, axis=0) for name, values in by_measure.items()}
        yield from _named(f"Cells_{{name}}_C{channel}", means)


def _granularity(_: Mapping[str, Objects], pixels: Pixels, parameters: ClassicalParameters) -> Measured:
    from cp_measure.core.measuregranularity import get_granularity

    height, width = (length // 2 for length in pixels.shape[1:])
    half = pixels[:, : height * 2, : width * 2].reshape(len(pixels), height, 2, width, 2).mean(axis=(2, 4))
    length = parameters.granularity_spectrum_length
    for channel, image in enumerate(half, start=1):
        measured = get_granularity(
            np.ones(image.shape, dtype=np.int32),
            image,
            subsample_size=0.5,
            image_sample_size=0.5,
            granular_spectrum_length=length,
        )
        yield from _named(f"Image_{{name}}_C{channel}", measured)


def _sizeshape(kinds: Mapping[str, Objects], _pixels: Pixels, _: ClassicalParameters) -> Measured:
    from cp_measure.core.measureobjectsizeshape import get_sizeshape

    yield from _named("Nuclei_AreaShape_{name}", get_sizeshape(kinds["Nuclei"].labels, None))


def _radial_distribution(kinds: Mapping[str, Objects], pixels: Pixels, _: ClassicalParameters) -> Measured:
    from cp_measure.core.measureobjectintensitydistribution import get_radial_distribution

    for channel, image in enumerate(pixels, start=1):
        yield from _named(f"Cells_{{name}}_C{channel}", get_radial_distribution(kinds["Cells"].labels, image))


REFERENCES: dict[str, Any] = {
    "intensity": _intensity,
    "texture": _texture,
    "granularity": _granularity,
    "sizeshape": _sizeshape,
    "radial_distribution": _radial_distribution,
}


def _named(template: str, measured: Mapping[str, Any]) -> Measured:
    for name, values in measured.items():
        if not name.startswith(NO_FEATURES):
            yield template.format(name=name), values
