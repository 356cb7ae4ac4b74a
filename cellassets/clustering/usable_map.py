"""Which maps can be clustered: those of enough perturbations with directions of their own. The others are refused."""

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.clustering.tree import nearest_rows
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.relate import unit_rows
from cellassets.tables.parquet import vectors

SAME_WITHIN = 1e-5  # distance of unit vectors; rounding to float32 changes them by 1e-7
MAX_REPEATED_FRAC = 0.05  # as for the vectors of sites in `site_embeddings`


def usable_vectors(table: pl.DataFrame, min_perturbations: int) -> Float[np.ndarray, "row feature"]:
    """Returns the unit vectors of a map.

    Args:
        table: PERTURBATION_MAP rows without controls.
        min_perturbations: a map with fewer is refused.

    Raises:
        BenchmarkError: a vector is not finite.
        NotApplicable: there are too few perturbations, or the map has collapsed: many perturbations have one direction,
            so that clusters would depend on ties and rounding errors.
    """
    if table.height < min_perturbations:
        message = (
            f"the map has {table.height} perturbations without controls, fewer than min_perturbations "
            f"{min_perturbations} of clusters.yaml"
        )
        raise NotApplicable(message)
    values = vectors(table)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        message = (
            f"map_clusters: the vector of {table['perturbation_id'][int(wrong[0])]} is not finite ({len(wrong)} such "
            "perturbations); expected finite numbers; align the map again"
        )
        raise BenchmarkError(message)
    unit = unit_rows(values)
    n_repeated = int((nearest_rows(unit, 1)[0][:, 0] <= SAME_WITHIN).sum())
    if n_repeated > MAX_REPEATED_FRAC * table.height:
        message = (
            f"{n_repeated} of {table.height} perturbations have the same direction as another one, more than "
            f"{MAX_REPEATED_FRAC:.0%}: the map has collapsed"
        )
        raise NotApplicable(message)
    return unit
