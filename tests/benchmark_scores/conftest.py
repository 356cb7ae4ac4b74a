"""Simulated wells taken through the real alignment to what a benchmark looks at."""

import pytest

from cellassets.scoring.annotations import Annotations
from cellassets.scoring.run import judged_map
from cellassets.scoring.simulated import SIMULATED_MAP, annotations_of, map_wells, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells


@pytest.fixture
def judge():
    """Returns the function that makes a JudgedMap of a simulation."""

    def judge(*, annotations=None, is_aligned=True, n_other_maps=0, **design):
        chosen = SimulatedWells(**design)
        if is_aligned and annotations is None:
            return simulate_map(chosen, n_other_maps=n_other_maps)
        wells, known = simulate_wells(chosen)
        parameters = SIMULATED_MAP if is_aligned else SIMULATED_MAP.model_copy(update={"steps": ()})
        aligned, map_table = map_wells(wells, parameters)
        found = annotations_of(known) if annotations is None else Annotations(**annotations)
        return judged_map(aligned, map_table, parameters=parameters, annotations=found)

    return judge
