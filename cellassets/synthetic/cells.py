"""The cells of one site: where they lie, how each is shaped and stained, drawn around the well's averages.

Cells are drawn on a field half a cell wider than the image on every side, so that some are cut by its border.
`fields.py` turns them into pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from cellassets.synthetic.morphology import Morphology

N_ANGLES = 512
FOURIER_ORDERS = np.arange(2, 7)
CELL_TO_CELL = 0.16
STAIN_TO_STAIN = 0.10
MITOTIC_ROUNDING = 0.66

PerCell = Float64[np.ndarray, " cell"]
Outlines = Float32[np.ndarray, "cell angle"]


@dataclass(frozen=True)
class Cells:
    """All cells of a site: places and lengths in pixels, levels near 1, outlines as 1 / radius by angle."""

    centre_y: PerCell
    centre_x: PerCell
    orientation: PerCell
    radius: PerCell
    body_outline: Outlines
    nuclear_y: PerCell
    nuclear_x: PerCell
    nuclear_radius: PerCell
    nuclear_outline: Outlines
    is_mitotic: np.ndarray
    brightness: Float64[np.ndarray, "stain cell"]

    def __len__(self) -> int:
        return len(self.radius)


def draw_cells(morphology: Morphology, image_size: int, diameter_px: float, rng: np.random.Generator) -> Cells:
    """Returns the cells of one site."""
    diameter = diameter_px * morphology.diameter
    span = image_size + diameter
    # crowded cells are smaller: twice as many do not cover twice the area
    expected = morphology.confluency * span**2 / (np.pi / 4 * diameter_px**2 * morphology.diameter)
    n = max(1, round(expected * np.exp(rng.normal(0.0, 0.10))))
    y, x = _places(n, span, morphology.clumping, diameter, rng)
    is_mitotic = rng.random(n) < morphology.mitotic_odds / (1 + morphology.mitotic_odds)
    size = np.exp(rng.normal(0.0, CELL_TO_CELL, n))
    # 1.25: bodies are drawn larger than their share of the field and meet their neighbours
    radius = 0.5 * 1.25 * diameter * np.where(is_mitotic, MITOTIC_ROUNDING, size)
    orientation = _orientations(y, x, span, rng)
    elongation = morphology.elongation * np.where(is_mitotic, 0.1, np.exp(rng.normal(0.0, 0.35, n)))
    ragged = morphology.raggedness * np.where(is_mitotic, 0.1, 1.0)
    nuclear_radius = 0.5 * morphology.nuclear_diameter * diameter_px * size**0.5 * np.exp(rng.normal(0.0, 0.07, n))
    nuclear_elongation = morphology.nuclear_elongation * np.exp(rng.normal(0.0, 0.35, n))
    shift = 0.10 * radius * rng.normal(0.0, 1.0, (2, n)) * ~is_mitotic
    return Cells(
        centre_y=y,
        centre_x=x,
        orientation=orientation,
        radius=radius,
        body_outline=_outlines(radius, elongation, orientation, ragged, rng),
        nuclear_y=y + shift[0],
        nuclear_x=x + shift[1],
        nuclear_radius=np.where(is_mitotic, 0.55, 1.0) * nuclear_radius,
        nuclear_outline=_outlines(
            np.where(is_mitotic, 0.62, 1.0) * nuclear_radius,
            np.where(is_mitotic, 0.75, nuclear_elongation),
            orientation + rng.normal(0.0, 0.35, n),
            np.full(n, 0.03) + 0.05 * is_mitotic,
            rng,
        ),
        is_mitotic=is_mitotic,
        brightness=np.exp(rng.normal(0.0, CELL_TO_CELL, n) + rng.normal(0.0, STAIN_TO_STAIN, (6, n))),
    )


def _places(n: int, span: float, clumping: float, diameter: float, rng: np.random.Generator) -> tuple[PerCell, PerCell]:
    """Returns centres: partly around clumps, then pushed apart until neighbours have room for a nucleus each."""
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
    """Returns angles that vary slowly over the field, as neighbours align, and some by themselves."""
    first, second = rng.uniform(0.0, 2 * np.pi, 2), rng.uniform(0.3, 0.9, 2)
    swirl = np.sin(2 * np.pi * second[0] * y / span + first[0]) + np.cos(2 * np.pi * second[1] * x / span + first[1])
    return rng.uniform(0.0, np.pi) + 0.7 * swirl + rng.normal(0.0, 0.35, len(y))


def _outlines(
    radius: PerCell, elongation: PerCell, orientation: PerCell, ragged: PerCell, rng: np.random.Generator
) -> Outlines:
    """Returns 1 / radius by angle from the x axis: an ellipse times a random Fourier series.

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
