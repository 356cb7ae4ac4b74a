"""Which wells are replicates of each other: what a unit is, and how many of its wells on one plate count."""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters
from cellassets.benchmarks.judged import JudgedMap


class PlateParameters(PermutationParameters):
    """How many wells of a unit count on one plate.

    Null distributions exchange wells one by one. Where the wells of a perturbation are neighbours on a plate, they are
    alike because of their place, and exchanged wells are not. With `is_one_well_per_plate` one of them stands for all;
    it is drawn at random.
    """

    is_one_well_per_plate: bool = Field(
        default=False,
        description="Whether one well of a unit per plate counts, for layouts with replicates on neighbouring wells",
    )


class UnitParameters(PlateParameters):
    """What is judged as one unit: what is one row of the map (`as_in_map`), or each guide or dose (`perturbation`)."""

    unit: Literal["as_in_map", "perturbation"] = Field(
        default="as_in_map",
        description="What is judged: rows of the map (in a map by gene all guides of a gene), or each perturbation",
    )


def chosen_wells(judged: JudgedMap, parameters: PlateParameters) -> JudgedMap:
    """Returns the map with the units that are judged, and without the treated wells that do not count.

    Args:
        judged: the map.
        parameters: what is judged, and whether one well per plate counts.
    """
    if isinstance(parameters, UnitParameters) and parameters.unit == "perturbation":
        judged = replace(judged, units=tuple(judged.wells["perturbation_id"].to_list()))
    if not parameters.is_one_well_per_plate:
        return judged
    unit = np.unique(judged.units, return_inverse=True)[1]
    drawn = one_per_plate(unit, judged.plate_index, np.random.default_rng((parameters.seed, 2)))
    return judged.with_wells(np.flatnonzero(~judged.is_treatment | drawn))


def one_per_plate(
    unit: Int[np.ndarray, "well"], plate: Int[np.ndarray, "well"], rng: np.random.Generator
) -> Bool[np.ndarray, "well"]:
    """Returns true for one well of each unit on each plate, drawn at random."""
    order = rng.permutation(len(unit))
    cell = unit[order] * (plate.max() + 1) + plate[order]
    is_drawn = np.zeros(len(unit), dtype=bool)
    is_drawn[order[np.unique(cell, return_index=True)[1]]] = True
    return is_drawn
