"""Nuisances of a screen: effects of batch, plate and well position, and random variation between wells.

Every nuisance is a `Conditions`: a shift along the morphological axes (as with cells of another passage) and a change
of staining and optics. Nuisances add up: `total_conditions` is their sum for one well.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64

from cellassets.synthetic.axes import AXIS_NAMES, N_AXES
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.seeds import stream

N_CHANNELS = 6
CHANNEL_NAMES = ("nuclei", "er", "actin", "rna", "mitochondria", "golgi")

Vector = Float64[np.ndarray, " axis"]
PerChannel = Float64[np.ndarray, " channel"]


@dataclass(frozen=True)
class Conditions:
    """Shifts by one nuisance, or by the sum of several.

    Attributes:
        axis_shift: shift along the morphological axes, in axis units.
        log_gain: change of the logarithm of each channel's brightness.
        offset: background added to each channel, as a fraction of the camera's range.
        blur: change of the logarithm of the point spread's width; negative values are sharper.
        bleed: fraction of each channel's light that is added to the next channel.
        vignette: loss of light in the corners.
        centre_y: vertical distance of the light's centre from the middle, in half image heights.
        centre_x: horizontal distance of the light's centre from the middle, in half image widths.
    """

    axis_shift: Vector
    log_gain: PerChannel
    offset: PerChannel
    blur: float = 0.0
    bleed: float = 0.0
    vignette: float = 0.0
    centre_y: float = 0.0
    centre_x: float = 0.0

    def __add__(self, other: "Conditions") -> "Conditions":
        return Conditions(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def values(self) -> dict[str, float]:
        """Returns every number by name, such as `axis:cell_size` or `log_gain:er`."""
        named = {f"axis:{name}": float(value) for name, value in zip(AXIS_NAMES, self.axis_shift, strict=True)}
        for index, name in enumerate(CHANNEL_NAMES):
            named[f"log_gain:{name}"] = float(self.log_gain[index])
            named[f"offset:{name}"] = float(self.offset[index])
        scalars = ("blur", "bleed", "vignette", "centre_y", "centre_x")
        return named | {name: float(getattr(self, name)) for name in scalars}


def batch_conditions(design: ScreenDesign, experiment_id: str) -> Conditions:
    """Returns the conditions of one experiment: stain lots, passage, focus and illumination."""
    return _draw(stream(design.seed, "batch", experiment_id), design.nuisances.batch)


def plate_conditions(design: ScreenDesign, experiment_id: str, plate_id: str) -> Conditions:
    """Returns the conditions of one plate: the same kinds of shift as for a batch, less than half as strong."""
    return _draw(stream(design.seed, "plate", experiment_id, plate_id), 0.4 * design.nuisances.plate)


def position_conditions(design: ScreenDesign, experiment_id: str, plate_id: str, row: int, column: int) -> Conditions:
    """Returns the effect of a well's position: evaporation at the edge, and a gradient that differs between plates."""
    strength = design.nuisances.well_position
    rng = stream(design.seed, "gradient", experiment_id, plate_id)
    edge = _edge_closeness(row, design.n_rows) + _edge_closeness(column, design.n_columns)
    height, width = max(design.n_rows - 1, 1), max(design.n_columns - 1, 1)
    slope = rng.normal(0.0, 1.0, 2) @ np.array([2 * row / height - 1, 2 * column / width - 1])
    shift = np.zeros(N_AXES)
    for name, at_edge, along in (("cell_number", -0.9, 0.3), ("cell_size", 0.6, 0.1), ("mito_spread", -0.5, 0.1)):
        shift[AXIS_NAMES.index(name)] = at_edge * min(edge, 1.0) + along * slope
    log_gain = 0.06 * min(edge, 1.0) + 0.06 * slope * np.ones(N_CHANNELS)
    return Conditions(strength * shift, strength * log_gain, np.zeros(N_CHANNELS))


def well_conditions(design: ScreenDesign, experiment_id: str, plate_id: str, well_id: str) -> Conditions:
    """Returns the random variation of one well: unplanned biology, pipetting and focus."""
    return _draw(stream(design.seed, "well", experiment_id, plate_id, well_id), 0.33 * design.nuisances.well)


def total_conditions(
    design: ScreenDesign, experiment_id: str, plate_id: str, well_id: str, *, place: tuple[int, int]
) -> Conditions:
    """Returns the sum of all nuisances of one well; `place` is its 0-based row and column."""
    return (
        batch_conditions(design, experiment_id)
        + plate_conditions(design, experiment_id, plate_id)
        + position_conditions(design, experiment_id, plate_id, *place)
        + well_conditions(design, experiment_id, plate_id, well_id)
    )


def _draw(rng: np.random.Generator, strength: float) -> Conditions:
    return Conditions(
        axis_shift=strength * rng.normal(0.0, 0.6, N_AXES),
        log_gain=strength * rng.normal(0.0, 0.22, N_CHANNELS),
        offset=strength * np.abs(rng.normal(0.0, 0.02, N_CHANNELS)),
        blur=strength * float(rng.normal(0.0, 0.3)),
        bleed=strength * float(abs(rng.normal(0.0, 0.03))),
        vignette=strength * float(abs(rng.normal(0.0, 0.1))),
        centre_y=strength * float(rng.normal(0.0, 0.15)),
        centre_x=strength * float(rng.normal(0.0, 0.15)),
    )


def _edge_closeness(index: int, n_lines: int) -> float:
    """Returns 1 on the outermost line of wells, 1/3 on the next one, and 0 further inside."""
    distance = min(index, n_lines - 1 - index)
    return {0: 1.0, 1: 1.0 / 3.0}.get(distance, 0.0)
