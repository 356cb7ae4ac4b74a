"""The cells of one site: place, shape and staining of each cell, drawn around the well's averages.

Cells are placed on a field that is half a cell wider than the image on every side, so that its border cuts some cells.
`fields.py` turns the cells into pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from cellassets.synthetic.morphology import Morphology
from cellassets.synthetic.nuisances import N_CHANNELS

N_ANGLES = 512
FOURIER_ORDERS = np.arange(2, 7)
SITE_TO_SITE = 0.10  # standard deviations of logarithms, here and below
CELL_TO_CELL = 0.16
STAIN_TO_STAIN = 0.10
MAX_RADIUS = 1.9  # in diameters of the average cell; larger cells would not fit into the texture bank
BODY_MARGIN = 1.25  # bodies are larger than their part of the field, so that neighbours touch
MITOTIC_ROUNDING = 0.66
MITOTIC_CONDENSING = 0.34

PerCell = Float64[np.ndarray, " cell"]
Outlines = Float32[np.ndarray, "cell angle"]


@dataclass(frozen=True)
class Cells:
    """All cells of a site: positions and lengths in pixels, levels near 1, outlines as 1 / radius by angle."""

    centre_y: PerCell
    centre_x: PerCell
    orientation: PerCell
    is_mitotic: Bool[np.ndarray, " cell"]
    radius: PerCell
    outline: Outlines
    nuclear_y: PerCell
    nuclear_x: PerCell
    nuclear_radius: PerCell
    nuclear_outline: Outlines
    chromatin_contrast: PerCell
    brightness: Float64[np.ndarray, "stain cell"]

    def __len__(self) -> int:
        return len(self.radius)


def draw_cells(look: Morphology, image_size: int, diameter_px: float, rng: np.random.Generator) -> Cells:
    """Returns the cells of one site.

    Args:
        look: averages of the well.
        image_size: height and width of the image in pixels.
        diameter_px: diameter of the design's average cell in pixels.
        rng: the site's random stream.
    """
    diameter = diameter_px * look.diameter
    span = image_size + diameter
    # larger cells are fewer, in proportion to their diameter and not to its square: crowded cells shrink
    expected = look.confluency * span**2 / (np.pi / 4 * diameter_px**2 * look.diameter)
    n = max(1, round(expected * np.exp(rng.normal(0.0, SITE_TO_SITE))))
    y, x = _places(n, span, look.clumping, diameter, rng)
    is_mitotic = rng.random(n) < share(look.mitotic_odds)
    orientation = _orientations(y, x, span, rng)
    size = np.exp(rng.normal(0.0, CELL_TO_CELL, n))
    radius = 0.5 * BODY_MARGIN * diameter * np.where(is_mitotic, MITOTIC_ROUNDING, size)
    elongation = _vary(np.full(n, look.elongation), rng) * np.where(is_mitotic, 0.1, 1.0)
    ragged = look.raggedness * np.where(is_mitotic, 0.1, 1.0)
    nuclear_radius, nuclear_outline = _nuclei(look, diameter_px * size**0.5, orientation, is_mitotic, rng)
    outline = _outlines(radius, elongation, orientation, ragged, rng)
    off_centre = 0.10 * radius * rng.normal(0.0, 1.0, (2, n)) * ~is_mitotic
    shared = rng.normal(0.0, CELL_TO_CELL, n)
    return Cells(
        centre_y=y,
        centre_x=x,
        orientation=orientation,
        is_mitotic=is_mitotic,
        radius=radius,
        outline=np.maximum(outline, np.float32(1 / (MAX_RADIUS * diameter_px))),
        nuclear_y=y + off_centre[0],
        nuclear_x=x + off_centre[1],
        nuclear_radius=nuclear_radius,
        nuclear_outline=nuclear_outline,
        chromatin_contrast=look.chromatin_clumps * np.where(is_mitotic, 0.3, 1.0),
        brightness=np.exp(shared + rng.normal(0.0, STAIN_TO_STAIN, (N_CHANNELS, n))),
    )


def share(odds: float) -> float:
    """Returns the fraction that corresponds to odds: odds / (1 + odds)."""
    return odds / (1 + odds)


def _nuclei(
    look: Morphology,
    diameter_px: PerCell,
    orientation: PerCell,
    is_mitotic: Bool[np.ndarray, " cell"],
    rng: np.random.Generator,
) -> tuple[PerCell, Outlines]:
    """Returns radii and outlines of nuclei; the chromatin of a dividing cell is a small plate."""
    n = len(diameter_px)
    radius = 0.5 * look.nuclear_diameter * diameter_px * np.exp(rng.normal(0.0, 0.07, n))
    radius *= np.where(is_mitotic, MITOTIC_CONDENSING, 1.0)
    elongation = np.where(is_mitotic, 0.75, _vary(np.full(n, look.nuclear_elongation), rng))
    turned = orientation + rng.normal(0.0, 0.35, n)
    return radius, _outlines(radius, elongation, turned, np.where(is_mitotic, 0.08, 0.03), rng)


def _vary(elongation: PerCell, rng: np.random.Generator) -> PerCell:
    """Returns elongations that vary from cell to cell; the aspect ratio stays below exp(1.3) = 3.7."""
    return 1.3 * np.tanh(elongation * np.exp(rng.normal(0.0, 0.35, len(elongation))) / 1.3)


def _places(n: int, span: float, clumping: float, diameter: float, rng: np.random.Generator) -> tuple[PerCell, PerCell]:
    """Returns y and x of the centres: some are drawn around clumps, then all are pushed apart so that nuclei fit."""
    places = rng.uniform(0.0, span, (n, 2))
    clumps = rng.uniform(0.0, span, (max(1, round(n / 14)), 2))
    members = rng.random(n) < clumping
    chosen = clumps[rng.integers(0, len(clumps), n)] + rng.normal(0.0, 1.3 * diameter, (n, 2))
    places = np.where(members[:, None], chosen % span, places)
    for _ in range(6):
        apart = places[:, None, :] - places[None, :, :]
        distance = np.sqrt((apart**2).sum(axis=2)) + 1e-3
        push = np.clip(0.80 * diameter - distance, 0.0, None) / distance
        places = places + 0.35 * (apart * push[:, :, None]).sum(axis=1)
    places -= diameter / 2
    return places[:, 0], places[:, 1]


def _orientations(y: PerCell, x: PerCell, span: float, rng: np.random.Generator) -> PerCell:
    """Returns angles that vary slowly over the field, as neighbours align, plus random variation per cell."""
    first, second = rng.uniform(0.0, 2 * np.pi, 2), rng.uniform(0.3, 0.9, 2)
    swirl = np.sin(2 * np.pi * second[0] * y / span + first[0]) + np.cos(2 * np.pi * second[1] * x / span + first[1])
    return rng.uniform(0.0, np.pi) + 0.7 * swirl + rng.normal(0.0, 0.35, len(y))


def _outlines(
    radius: PerCell, elongation: PerCell, orientation: PerCell, ragged: PerCell, rng: np.random.Generator
) -> Outlines:
    """Returns 1 / radius by angle from the x axis: an ellipse multiplied by a random Fourier series.

    Source: polar form of an ellipse with semi-axes a and b, r = a b / sqrt((b cos t)^2 + (a sin t)^2).
    """
    angle = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
    turned = angle - orientation[:, None]
    stretch = np.exp(elongation / 2)[:, None]
    inverse = np.hypot(np.cos(turned) / stretch, np.sin(turned) * stretch) / radius[:, None]
    amplitude = ragged[:, None] * rng.normal(0.0, 1.0, (len(radius), len(FOURIER_ORDERS))) / np.sqrt(FOURIER_ORDERS / 2)
    phase = rng.uniform(0.0, 2 * np.pi, amplitude.shape)
    waves = np.cos(FOURIER_ORDERS[None, :, None] * angle + phase[:, :, None])
    return (inverse * np.exp(-(amplitude[:, :, None] * waves).sum(axis=1))).astype(np.float32)
