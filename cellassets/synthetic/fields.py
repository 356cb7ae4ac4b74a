"""Cells as pixels: which cell each pixel belongs to, how far inside the cell it is, and where the nuclei are.

Each cell is a cone over its outline. Where cones overlap, the pixel belongs to the higher one. Cells that touch
therefore have irregular polygonal borders, and free edges follow the outlines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64

from cellassets.synthetic.cells import N_ANGLES, Cells, Outlines
from cellassets.synthetic.textures import Texture, TextureBank

RUFFLES = np.float32(0.05)
NUCLEAR_EDGE = np.float32(5.0)
MITOTIC_DNA = 2.0

Plane = Float32[np.ndarray, "y x"]


@dataclass(frozen=True)
class Fields:
    """Planes from which the stains are painted.

    Attributes:
        owner: 0 in the background, 1 + index of the cell elsewhere.
        height: 1 in a cell's centre, 0 at its free edge.
        second_height: height of the second highest cone, 0 without one.
        nucleus: 1 in nuclei, 0 elsewhere.
        dna: light of the nuclei, about 1 at brightness 1, added up where nuclei overlap.
    """

    owner: Int64[np.ndarray, "y x"]
    height: Plane
    second_height: Plane
    nucleus: Plane
    dna: Plane

    @property
    def border_distance(self) -> Plane:
        """0 at any border of a cell, free or shared, and up to 1 in its middle."""
        return self.height - self.second_height


def draw_fields(cells: Cells, bank: TextureBank, rng: np.random.Generator) -> Fields:
    """Returns the planes of one site.

    Args:
        cells: cells of the site.
        bank: textures of chromatin and of ruffled edges.
        rng: draws the place in the bank where each cell's texture begins.
    """
    shape = (bank.image_size, bank.image_size)
    planes = (np.zeros(shape, np.float32) for _ in range(4))
    fields = Fields(np.zeros(shape, np.int64), *planes)
    _stamp_bodies(cells, bank, fields, rng)
    _stamp_nuclei(cells, bank, fields, rng)
    return fields


def _stamp_bodies(cells: Cells, bank: TextureBank, fields: Fields, rng: np.random.Generator) -> None:
    stamps = _Stamps(cells.centre_y, cells.centre_x, cells.outline, bank.image_size)
    starts = rng.integers(0, bank.size - stamps.width, (len(cells), 2))
    for index, patch, cone in stamps:
        np.add(cone, RUFFLES * _window(bank.ruffle_noise, starts[index], cone.shape), out=cone)
        highest, behind = fields.height[patch], fields.second_height[patch]
        np.copyto(fields.owner[patch], index + 1, where=cone > highest)
        np.maximum(behind, np.minimum(cone, highest), out=behind)
        np.maximum(highest, cone, out=highest)


def _stamp_nuclei(cells: Cells, bank: TextureBank, fields: Fields, rng: np.random.Generator) -> None:
    stamps = _Stamps(cells.nuclear_y, cells.nuclear_x, cells.nuclear_outline, bank.image_size)
    starts = rng.integers(0, bank.size - stamps.width, (len(cells), 2))
    contrast = cells.chromatin_contrast.astype(np.float32)
    level = (cells.brightness[0] * np.where(cells.is_mitotic, MITOTIC_DNA, 1.0)).astype(np.float32)
    for index, patch, dome in stamps:
        inside = np.clip(dome * NUCLEAR_EDGE, 0.0, 1.0)
        # a nucleus belongs to its own cell, even where another cone is higher
        np.copyto(fields.owner[patch], index + 1, where=inside > 0.5)
        np.maximum(fields.nucleus[patch], inside, out=fields.nucleus[patch])
        light = contrast[index] * _window(bank.chromatin_noise, starts[index], dome.shape)
        light += np.float32(0.78) + np.float32(0.3) * dome
        np.clip(light, 0.1, 2.5, out=light)
        light *= inside
        light *= level[index]
        fields.dna[patch] += light


class _Stamps:
    """Iterates over cones, 1 in the centre and 0 on the outline, each with the image patch that it covers."""

    def __init__(self, y: np.ndarray, x: np.ndarray, outlines: Outlines, image_size: int) -> None:
        self._y, self._x, self._outlines, self._image_size = y, x, outlines, image_size
        self._halves = np.ceil(1.0 / outlines.min(axis=1)).astype(np.int64) + 1
        self.width = 2 * int(self._halves.max()) + 1

    def __iter__(self) -> Iterator[tuple[int, tuple[slice, slice], Plane]]:
        # rounded up, so that only a few different grids are cached
        middle = -(-self.width // 64) * 32
        grid_radius, grid_angle = _polar_grid(middle)
        for index, half in enumerate(self._halves.tolist()):
            y, x = round(self._y[index]), round(self._x[index])
            rows, columns = self._covered(y, half), self._covered(x, half)
            if rows is None or columns is None:
                continue
            grid = _shifted(rows, middle - y), _shifted(columns, middle - x)
            cone = self._outlines[index].take(grid_angle[grid])
            cone *= grid_radius[grid]
            np.subtract(np.float32(1.0), cone, out=cone)
            yield index, (rows, columns), cone

    def _covered(self, centre: int, half: int) -> slice | None:
        """Returns the lines of the image within `half` of `centre`, or None where there are none."""
        low, high = max(centre - half, 0), min(centre + half + 1, self._image_size)
        return slice(low, high) if low < high else None


def _shifted(lines: slice, by: int) -> slice:
    return slice(lines.start + by, lines.stop + by)


def _window(texture: Texture, start: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "row column"]:
    return texture[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]


@lru_cache(maxsize=32)
def _polar_grid(half: int) -> tuple[Plane, Int64[np.ndarray, "y x"]]:
    """Returns radius and index of the angle of every pixel around the middle one."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = np.arctan2(y, x) * (N_ANGLES / (2 * np.pi))
    return np.hypot(y, x).astype(np.float32), np.rint(angle).astype(np.int64) % N_ANGLES
