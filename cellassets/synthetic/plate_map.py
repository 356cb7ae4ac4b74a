"""Plate maps: which perturbation is in which well of a plate.

Controls are spread evenly over edge and middle of the plate. Treatments are assigned to plates once for the whole
screen, and to wells at random for every plate of every experiment.
"""

import string

from cellassets.synthetic.biology import Biology, Perturbation
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.seeds import stream


def well_name(row: int, column: int) -> str:
    """Returns a well's name from its 0-based row and column: (1, 6) is B07, (26, 0) is AA01."""
    letters = string.ascii_uppercase
    prefix = letters[row // 26 - 1] if row >= 26 else ""
    return f"{prefix}{letters[row % 26]}{column + 1:02d}"


def well_place(well_id: str) -> tuple[int, int]:
    """Returns the 0-based row and column of a well: B07 is (1, 6)."""
    letters, digits = well_id[:-2], well_id[-2:]
    row = 0
    for letter in letters:
        row = 26 * row + string.ascii_uppercase.index(letter) + 1
    return row - 1, int(digits) - 1


def map_plate(design: ScreenDesign, biology: Biology, experiment_id: str, plate_id: str) -> dict[str, Perturbation]:
    """Returns the perturbation of every well in use, sorted by well."""
    rng = stream(design.seed, "plate map", experiment_id, plate_id)
    rows, columns = (_used_lines(n, design.n_empty_border) for n in (design.n_rows, design.n_columns))
    wells = [well_name(row, column) for row in rows for column in columns]
    controls = _control_wells(design, biology)
    blocks = rng.permutation(len(controls))
    contents: dict[str, Perturbation] = {}
    for index, block in enumerate(blocks):
        # the plate is divided into as many blocks of wells as there are controls; each block gets one control
        low = block * len(wells) // len(controls)
        high = (block + 1) * len(wells) // len(controls)
        contents[wells[rng.integers(low, high)]] = controls[index]
    free = [well for well in wells if well not in contents]
    treatments = plate_treatments(design, biology, plate_id)
    places = rng.permutation(len(free))[: len(treatments)]
    contents.update({free[place]: treatment for place, treatment in zip(places, treatments, strict=True)})
    return {well: contents[well] for well in wells if well in contents}


def plate_treatments(design: ScreenDesign, biology: Biology, plate_id: str) -> list[Perturbation]:
    """Returns the treatments on a plate; they are the same for this plate in every experiment, as in RxRx1."""
    treatments = biology.of_well_type("treatment")
    dealt = [
        treatments[index]
        for replicate in range(design.n_wells_per_perturbation)
        for index in stream(design.seed, "deal", replicate).permutation(len(treatments))
    ]
    start = design.plate_ids.index(plate_id) * design.n_treatment_wells
    return dealt[start : start + design.n_treatment_wells]


def _used_lines(n_lines: int, n_empty_border: int) -> range:
    return range(n_empty_border, n_lines - n_empty_border)


def _control_wells(design: ScreenDesign, biology: Biology) -> list[Perturbation]:
    (negative,) = biology.of_well_type("negative_control")
    kinds = biology.of_well_type("positive_control")
    positive = [kinds[n % len(kinds)] for n in range(design.n_positive_controls)]
    return [negative] * design.n_negative_controls + positive
