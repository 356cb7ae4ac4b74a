"""Rendering of one site (field of view) of a screen: biology and nuisances in, six grey images out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cellassets.synthetic.biology import Perturbation
from cellassets.synthetic.camera import photograph
from cellassets.synthetic.cells import draw_cells
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.morphology import well_morphology
from cellassets.synthetic.nuisances import Conditions
from cellassets.synthetic.seeds import stream
from cellassets.synthetic.stains import Stainer
from cellassets.synthetic.textures import texture_bank


@dataclass(frozen=True)
class Well:
    """Everything that the images of a well depend on."""

    experiment_id: str
    cell_type: str
    plate_id: str
    well_id: str
    perturbation: Perturbation
    conditions: Conditions


def render_site(design: ScreenDesign, well: Well, site_index: int) -> UInt8[np.ndarray, "channel y x"]:
    """Returns the six images of one site; they are the same on every call.

    Args:
        design: the screen.
        well: the well, with its perturbation and nuisances.
        site_index: 1-based index of the site.
    """
    rng = stream(design.seed, "site", well.experiment_id, well.plate_id, well.well_id, site_index)
    look = well_morphology(design, well.cell_type, well.perturbation.effect + well.conditions.axis_shift)
    cells = draw_cells(look, design.image_size, design.diameter_px, rng)
    light = Stainer(look, cells, texture_bank(design), rng).paint()
    return photograph(light, well.conditions, design.diameter_px, rng)
