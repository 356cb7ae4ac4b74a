"""Cells as pixels: which cell owns each pixel, how far inside it lies, and where the nuclei are.

Each cell is a cone over its own outline; where cones meet, the higher one owns the pixel. So cells that touch have
irregular polygonal borders and free edges follow their outlines.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64

from cellassets.synthetic.cells import N_ANGLES, Cells
from cellassets.synthetic.textures import TextureBank

RUFFLES = np.float32(0.05)
NUCLEAR_EDGE = np.float32(5.0)
MAX_REACH = 3.0  # longest radius of an outline, in mean radii, that a stamp has room for

Plane = Float32[np.ndarray, "y x"]


@dataclass(frozen=True)
class Fields:
    """Planes that the stains are made of.

    `owner` is 0 in the background and 1 + the cell's index elsewhere; `height` is 1 in a cell's centre and 0 at its
    free edge; `border` is the same but 0 at any border, with another cell or free; `nucleus` is 1 in nuclei.
    """

    owner: Int64[np.ndarray, "y x"]
    height: Plane
    border: Plane
    nucleus: Plane
    dna: Plane


@dataclass(frozen=True)
class _Patch:
    """Where a stamp lies in the image and which part of the polar grid it shows."""

    image: tuple[slice, slice]
    grid: tuple[slice, slice]


def draw_fields(
    cells: Cells, bank: TextureBank, dna_level: np.ndarray, clumps: float, rng: np.random.Generator
) -> Fields:
    """Returns the planes of one site.

    Args:
        cells: its cells.
        bank: textures of chromatin and of ruffled edges.
        dna_level: brightness of each nucleus.
        clumps: contrast of chromatin texture.
        rng: draws where in the bank each cell's texture begins.
    """
    shape = (bank.image_size, bank.image_size)
    owner = np.zeros(shape, np.int64)
    height, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _stamp_bodies(cells, bank, owner, (height, second), rng)
    nucleus, dna = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _stamp_nuclei(cells, bank, (dna_level, clumps), (owner, height, nucleus, dna), rng)
    return Fields(owner, height, height - second, nucleus, dna)


def _stamp_bodies(
    cells: Cells, bank: TextureBank, owner: np.ndarray, planes: tuple[Plane, Plane], rng: np.random.Generator
) -> None:
    height, second = planes
    halves = _half_sizes(cells.body_outline, cells.radius)
    grid_radius, grid_angle = _polar_grid(_rounded_up(halves.max()))
    starts = rng.integers(0, bank.size - 2 * halves.max(), (len(cells), 2))
    for index in range(len(cells)):
        patch = _patch(
            cells.centre_y[index], cells.centre_x[index], halves[index], len(grid_radius) // 2, bank.image_size
        )
        if patch is None:
            continue
        cone = cells.body_outline[index].take(grid_angle[patch.grid])
        cone *= grid_radius[patch.grid]
        np.subtract(np.float32(1.0), cone, out=cone)
        cone += RUFFLES * _window(bank.ruffle_noise, starts[index], cone.shape)
        highest = height[patch.image]
        np.copyto(owner[patch.image], index + 1, where=cone > highest)
        behind = second[patch.image]
        np.maximum(behind, np.minimum(cone, highest), out=behind)
        np.maximum(highest, cone, out=highest)


def _stamp_nuclei(
    cells: Cells,
    bank: TextureBank,
    look: tuple[np.ndarray, float],
    planes: tuple[np.ndarray, Plane, Plane, Plane],
    rng: np.random.Generator,
) -> None:
    owner, _, nucleus, dna = planes
    dna_level, clumps = look
    halves = _half_sizes(cells.nuclear_outline, cells.nuclear_radius)
    grid_radius, grid_angle = _polar_grid(_rounded_up(halves.max()))
    starts = rng.integers(0, bank.size - 2 * halves.max(), (len(cells), 2))
    for index in range(len(cells)):
        patch = _patch(
            cells.nuclear_y[index], cells.nuclear_x[index], halves[index], len(grid_radius) // 2, bank.image_size
        )
        if patch is None:
            continue
        dome = cells.nuclear_outline[index].take(grid_angle[patch.grid])
        dome *= grid_radius[patch.grid]
        np.subtract(np.float32(1.0), dome, out=dome)
        inside = np.clip(dome * NUCLEAR_EDGE, 0.0, 1.0)
        # a nucleus lies in its own cell, however crowded
        np.copyto(owner[patch.image], index + 1, where=inside > 0.5)
        np.maximum(nucleus[patch.image], inside, out=nucleus[patch.image])
        texture = _window(bank.chromatin_noise, starts[index], dome.shape)
        contrast = np.float32(clumps * (0.3 if cells.is_mitotic[index] else 1.0))
        light = np.clip(np.float32(0.78) + np.float32(0.3) * dome + contrast * texture, 0.1, 2.5)
        light *= inside
        light *= np.float32(dna_level[index])
        dna[patch.image] += light


def _half_sizes(outlines: np.ndarray, radius: np.ndarray) -> Int64[np.ndarray, " cell"]:
    """Half width of each cell's stamp in pixels."""
    longest = np.minimum(1.0 / outlines.min(axis=1), MAX_REACH * radius)
    return np.ceil(longest).astype(np.int64) + 1


def _rounded_up(half: int) -> int:
    """Half width of a polar grid that holds the largest stamp; few different ones, since they are kept."""
    return -(-int(half) // 32) * 32


def _window(texture: Plane, start: np.ndarray, shape: tuple[int, ...]) -> Plane:
    return texture[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]


@lru_cache(maxsize=32)
def _polar_grid(half: int) -> tuple[Plane, Int64[np.ndarray, "y x"]]:
    """Returns radius and index of angle of every pixel around the middle one."""
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = np.arctan2(y, x) * (N_ANGLES / (2 * np.pi))
    return np.hypot(y, x).astype(np.float32), np.rint(angle).astype(np.int64) % N_ANGLES


def _patch(centre_y: float, centre_x: float, half: int, middle: int, image_size: int) -> _Patch | None:
    """Returns the patch of a stamp around a centre, or None where it is outside the image."""
    image, grid = [], []
    for centre in (round(centre_y), round(centre_x)):
        low, high = max(centre - half, 0), min(centre + half + 1, image_size)
        if low >= high:
            return None
        image.append(slice(low, high))
        grid.append(slice(low - centre + middle, high - centre + middle))
    return _Patch((image[0], image[1]), (grid[0], grid[1]))
