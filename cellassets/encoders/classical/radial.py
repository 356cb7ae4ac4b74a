"""Radial distribution of intensity in objects: how much of a stain lies how far from the centre.

The values equal those of `cp_measure.core.measureobjectintensitydistribution.get_radial_distribution` to rounding.
Distances depend on the objects alone, so centrosome measures them once per site, not once per channel.

Source: CellProfiler's MeasureObjectIntensityDistribution.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.encoders.classical.objects import Objects

N_RINGS = 4
N_WEDGES = 8
MIN_DISTANCE_PX = 0.001  # keeps the relative distance of an object's centre finite


@dataclass(frozen=True)
class Rings:
    """Where each pixel of the objects lies: its object, ring and wedge.

    Attributes:
        pixels: flat positions of the pixels that are connected with the centre of their object.
        owner: 0-based object of each pixel.
        ring: 0 at the centre; `N_RINGS` for what is left by rounding.
        wedge: one of eight directions from the centre.
        n_objects: number of objects.
    """

    pixels: Int[np.ndarray, "pixel"]
    owner: Int[np.ndarray, "pixel"]
    ring: Int[np.ndarray, "pixel"]
    wedge: Int[np.ndarray, "pixel"]
    n_objects: int


def object_rings(objects: Objects) -> Rings:
    """Returns the rings of all objects; an object's centre is its first pixel that is farthest from its edge."""
    from centrosome.cpmorphology import color_labels, distance_to_edge

    labels = objects.labels
    to_edge = distance_to_edge(labels)
    centres = _centres(objects, to_edge)
    seeds = np.zeros(labels.shape, dtype=int)
    seeds.ravel()[centres] = np.arange(1, objects.n_objects + 1)
    reached, from_centre = _distance_from_centre(seeds, color_labels(labels))
    pixels = np.flatnonzero(reached)
    distance = from_centre.ravel()[pixels]
    relative = distance / (distance + to_edge.ravel()[pixels] + MIN_DISTANCE_PX)
    ring = np.minimum((relative * N_RINGS).astype(int), N_RINGS)
    rows, columns = np.divmod(pixels, labels.shape[1])
    centre_rows, centre_columns = np.divmod(centres[reached.ravel()[pixels] - 1], labels.shape[1])
    down, right = rows - centre_rows, columns - centre_columns
    wedge = (down > 0).astype(int) + 2 * (right > 0) + 4 * (np.abs(down) > np.abs(right))
    owner = labels.ravel()[pixels].astype(int) - 1
    return Rings(pixels, owner, ring, wedge, objects.n_objects)


def radial_features(rings: Rings, pixels: Float[np.ndarray, "y x"]) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns per object and ring: its share of the intensity, that share per share of pixels, and its variation.

    The variation is the coefficient of variation of the mean intensity of eight wedges.

    Args:
        rings: where the pixels lie, from `object_rings`.
        pixels: pixel values.
    """
    shape = (rings.n_objects, N_RINGS + 1, N_WEDGES)
    place = np.ravel_multi_index((rings.owner, rings.ring, rings.wedge), shape)
    counts = np.bincount(place, minlength=np.prod(shape)).reshape(shape)
    sums = np.bincount(place, weights=pixels.ravel()[rings.pixels], minlength=np.prod(shape)).reshape(shape)
    share = sums.sum(axis=2) / sums.sum(axis=(1, 2))[:, None]
    pixel_share = counts.sum(axis=2) / counts.sum(axis=(1, 2))[:, None]
    mean_share = share / (pixel_share + np.finfo(float).eps)
    variation = _variation(sums, counts)
    features = {}
    for ring in range(N_RINGS):
        of_ring = f"{ring + 1}of{N_RINGS}"
        features[f"RadialDistribution_FracAtD_{of_ring}"] = share[:, ring]
        features[f"RadialDistribution_MeanFrac_{of_ring}"] = mean_share[:, ring]
        features[f"RadialDistribution_RadialCV_{of_ring}"] = variation[:, ring]
    return features


def _variation(
    sums: Float[np.ndarray, "object ring wedge"], counts: Int[np.ndarray, "object ring wedge"]
) -> Float[np.ndarray, "object ring"]:
    """The coefficient of variation over the wedges that have pixels; 0 for a ring that is black or has no pixels."""
    is_used = counts > 0
    n_used = is_used.sum(axis=2)
    means = np.where(is_used, sums / counts, 0.0)
    mean = means.sum(axis=2) / n_used
    deviation = np.where(is_used, means - mean[:, :, None], 0.0)
    is_defined = (n_used > 0) & (mean > 0)
    return np.where(is_defined, np.sqrt((deviation**2).sum(axis=2) / n_used) / mean, 0.0)


def _centres(objects: Objects, to_edge: Float[np.ndarray, "y x"]) -> Int[np.ndarray, "object"]:
    distance = to_edge.ravel()[objects.pixels]
    is_farthest = distance == np.maximum.reduceat(distance, objects.starts)[objects.owner]
    candidates, owner = objects.pixels[is_farthest], objects.owner[is_farthest]
    return candidates[np.searchsorted(owner, np.arange(objects.n_objects))]


def _distance_from_centre(
    seeds: Int[np.ndarray, "y x"], colours: Int[np.ndarray, "y x"]
) -> tuple[Int[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """The object that reaches each pixel, and how far it is inside the object; objects of a colour do not touch."""
    from centrosome.propagate import propagate

    reached, distance = np.zeros(seeds.shape, dtype=int), np.zeros(seeds.shape)
    flat = np.zeros(seeds.shape)
    for colour in range(1, int(colours.max()) + 1):
        mask = colours == colour
        found, far = propagate(flat, seeds, mask, 1)
        reached[mask], distance[mask] = found[mask], far[mask]
    return reached, distance
