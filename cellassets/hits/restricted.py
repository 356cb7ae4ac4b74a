"""A map with some of its perturbations only: the treated wells and map rows of the others are left out."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import polars as pl

from cellassets.benchmarks.judged import JudgedMap


def only_units(judged: JudgedMap, names: Collection[str]) -> JudgedMap:
    """Returns the map with these perturbations and all controls; vectors are not changed.

    Args:
        judged: the map.
        names: the perturbations to keep, as in `judged.units`.
    """
    is_kept = ~judged.is_treatment | np.isin(np.array(judged.units), sorted(names))
    is_row_kept = pl.col("control_kind").is_not_null() | pl.col("perturbation_id").is_in(sorted(names))
    return replace(judged.with_wells(np.flatnonzero(is_kept)), map_table=judged.map_table.filter(is_row_kept))
