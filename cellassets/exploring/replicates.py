"""The wells of a perturbation, and how much they agree with each other."""

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.mapping.relate import unit_rows

WELL_COLUMNS = ("experiment_id", "plate_id", "well_id", "batch_id", "n_sites")


def cosines_to_others(values: Float[np.ndarray, "well feature"]) -> Float[np.ndarray, "well"]:
    """Returns the mean cosine of each well to the other wells; NaN where there is one well."""
    unit = unit_rows(values)
    n_others = len(unit) - 1
    if n_others == 0:
        return np.full(1, np.nan)
    return (unit @ unit.sum(axis=0) - np.square(unit).sum(axis=1)) / n_others


def replicate_wells(wells: pl.DataFrame, values: Float[np.ndarray, "well feature"]) -> pl.DataFrame:
    """Returns the wells of one perturbation with `cosine_to_others`, in the order of plates and wells.

    Args:
        wells: WELL_EMBEDDINGS rows, without their vectors.
        values: the vectors.
    """
    cosines = cosines_to_others(values) if wells.height else np.empty(0)
    found = wells.select(*WELL_COLUMNS, cosine_to_others=pl.Series(cosines, dtype=pl.Float64).fill_nan(None))
    return found.sort("experiment_id", "plate_id", "well_id")
