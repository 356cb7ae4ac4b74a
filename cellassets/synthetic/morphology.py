"""Average morphology of a well's cells: that of the cell type, shifted along the morphological axes.

Every quantity is positive and every effect is a factor, so opposite effects are opposite on a log scale. `cells.py`
draws single cells around these averages.
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64

from cellassets.synthetic.axes import AXIS_NAMES
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.seeds import stream


@dataclass(frozen=True)
class Morphology:
    """Averages over the cells of a well.

    Lengths are in diameters of the design's average cell (nucleoli: standard deviation in nuclear radii); levels are
    near 1. `elongation` is the logarithm of the aspect ratio. Odds of x correspond to the fraction x / (1 + x).
    """

    confluency: float = 0.85
    diameter: float = 1.0
    elongation: float = 0.35
    raggedness: float = 0.10
    clumping: float = 0.2
    nuclear_diameter: float = 0.43
    nuclear_elongation: float = 0.28
    chromatin_clumps: float = 0.12
    er_level: float = 1.0
    cortex_level: float = 1.0
    fibre_level: float = 0.6
    nucleolar_radius: float = 0.17
    n_nucleoli: float = 3.0
    rna_level: float = 1.0
    mito_level: float = 1.0
    mito_spread_odds: float = 1.0
    mito_punctate_odds: float = 0.35
    golgi_level: float = 1.0
    mitotic_odds: float = 0.03


CELL_TYPES: dict[str, dict[str, float]] = {
    "HUVEC": {"elongation": 0.55, "confluency": 0.90, "nuclear_diameter": 0.42, "fibre_level": 0.7},
    "U2OS": {
        "diameter": 1.18,
        "confluency": 0.76,
        "elongation": 0.30,
        "raggedness": 0.15,
        "nuclear_diameter": 0.48,
        "fibre_level": 1.1,
        "cortex_level": 0.75,
        "n_nucleoli": 4.5,
        "mito_level": 1.15,
    },
    "HEPG2": {
        "diameter": 0.74,
        "confluency": 0.72,
        "elongation": 0.15,
        "raggedness": 0.06,
        "clumping": 0.8,
        "nuclear_diameter": 0.37,
        "nuclear_elongation": 0.12,
        "cortex_level": 1.5,
        "fibre_level": 0.2,
        "er_level": 1.2,
        "golgi_level": 0.8,
    },
    "RPE": {
        "diameter": 0.95,
        "confluency": 1.05,
        "elongation": 0.28,
        "nuclear_elongation": 0.30,
        "cortex_level": 0.9,
        "fibre_level": 0.9,
        "mito_spread_odds": 1.4,
        "nucleolar_radius": 0.145,
    },
}

# change of the logarithm of a quantity per unit of an axis
AXIS_STEPS: dict[str, dict[str, float]] = {
    "cell_number": {"confluency": 0.28},
    "cell_size": {"diameter": 0.085},
    "cell_elongation": {"elongation": 0.33},
    "nuclear_size": {"nuclear_diameter": 0.10},
    "nuclear_elongation": {"nuclear_elongation": 0.35},
    "chromatin_texture": {"chromatin_clumps": 0.45},
    "er_intensity": {"er_level": 0.22},
    "actin_intensity": {"cortex_level": 0.28},
    "actin_fibres": {"fibre_level": 0.36},
    "nucleolar_size": {"nucleolar_radius": 0.17},
    "rna_intensity": {"rna_level": 0.22},
    "mito_spread": {"mito_spread_odds": 0.80},
    "mito_fragmentation": {"mito_punctate_odds": 1.00},
    "golgi_intensity": {"golgi_level": 0.28},
}


def well_morphology(design: ScreenDesign, cell_type: str, shift: Float64[np.ndarray, " axis"]) -> Morphology:
    """Returns the average morphology of a well's cells.

    Args:
        design: gives the seed for unknown cell types, and how much cell types differ.
        cell_type: one of RxRx1's four, or any other name, whose morphology is drawn from the seed.
        shift: sum of biology and nuisances of the well, in axis units.
    """
    values = cell_type_morphology(design, cell_type)
    for axis, amount in zip(AXIS_NAMES, shift, strict=True):
        for name, step in AXIS_STEPS[axis].items():
            values[name] *= float(np.exp(step * amount))
    return Morphology(**values)


def cell_type_morphology(design: ScreenDesign, cell_type: str) -> dict[str, float]:
    """Returns the averages of an unperturbed cell type; with a cell-type nuisance of 0 all cell types are the same."""
    reference = asdict(Morphology())
    if cell_type in CELL_TYPES:
        own = reference | CELL_TYPES[cell_type]
    else:
        rng = stream(design.seed, "cell type", cell_type)
        own = {name: value * float(np.exp(rng.normal(0.0, 0.2))) for name, value in reference.items()}
    strength = design.nuisances.cell_type
    return {name: value * (own[name] / value) ** strength for name, value in reference.items()}
