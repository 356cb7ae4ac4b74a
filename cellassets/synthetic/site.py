"""Renders one site (field of view) of a screen: biology and nuisances in, six grey images out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cellassets.synthetic.biology import Perturbation
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.nuisances import N_CHANNELS, Conditions
from cellassets.synthetic.seeds import stream


@dataclass(frozen=True)
class Well:
    """Everything that a well's pictures depend on."""

    experiment_id: str
    cell_type: str
    plate_id: str
    well_id: str
    perturbation: Perturbation
    conditions: Conditions


def render_site(design: ScreenDesign, well: Well, site_index: int) -> UInt8[np.ndarray, "channel y x"]:
    """Returns the six images of one site, the same on every call."""
    rng = stream(design.seed, "site", well.experiment_id, well.plate_id, well.well_id, site_index)
    size = design.image_size
    total = well.perturbation.effect + well.conditions.axis_shift
    n_cells = max(2, round(0.8 * (size / design.diameter_px) ** 2 * float(np.exp(0.3 * total[0]))))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    image = np.full((N_CHANNELS, size, size), 12.0, np.float32)
    radius = design.diameter_px * np.exp(
        0.1 * np.array([total[3], total[6], total[7], total[10], total[11], total[13]])
    )
    for centre_y, centre_x in rng.uniform(0, size, (n_cells, 2)):
        distance = np.hypot(y - centre_y, x - centre_x)
        for channel in range(N_CHANNELS):
            share = 0.22 if channel == 0 else 0.45
            image[channel] += 90 * np.exp(-((distance / (share * radius[channel])) ** 4))
    image *= np.exp(well.conditions.log_gain)[:, None, None].astype(np.float32)
    image += rng.standard_normal(image.shape, np.float32) * 3
    return np.clip(image, 0, 255).astype(np.uint8)
