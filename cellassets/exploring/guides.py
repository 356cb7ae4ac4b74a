"""The guides of a gene: how much their wells agree, and how much each guide agrees with the others.

A gene whose guides point in different directions shows the effects of guides and not of the gene.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.relate import mean_pairwise_cosine, unit_rows

SCHEMA: pl.Schema = pl.Schema(
    {"guide_id": pl.String(), "n_wells": pl.Int64(), "agreement": pl.Float64(), "cosine_to_others": pl.Float64()}
)


def guide_rows(wells: pl.DataFrame, values: Float[np.ndarray, "well feature"]) -> pl.DataFrame:
    """Returns one row per guide, sorted by name: number of wells, their agreement, and the cosine to the other guides.

    `agreement` is the mean cosine between two wells of the guide. `cosine_to_others` is the cosine between the mean of
    its wells and the mean of the wells of all other guides; null where there is one guide.

    Args:
        wells: aligned WELL_EMBEDDINGS rows of one gene, without their vectors; those without a guide are left out.
        values: the vectors.
    """
    is_known = wells["guide_id"].is_not_null().to_numpy()
    if not is_known.any():
        return pl.DataFrame(schema=SCHEMA)
    known = wells["guide_id"].drop_nulls().to_numpy()
    names, group, n_wells = np.unique(known, return_inverse=True, return_counts=True)
    of_known = values[is_known].astype(np.float64)
    means = group_mean(of_known, group, len(names))
    others = of_known.sum(axis=0) - means * n_wells[:, None]
    cosines = (unit_rows(means) * unit_rows(others)).sum(axis=1) if len(names) > 1 else np.full(1, np.nan)
    columns = {
        "guide_id": names.tolist(),
        "n_wells": n_wells.tolist(),
        "agreement": pl.Series(mean_pairwise_cosine(of_known, group, len(names))),
        "cosine_to_others": pl.Series(cosines),
    }
    return pl.DataFrame(columns, schema=SCHEMA).with_columns(pl.col("agreement", "cosine_to_others").fill_nan(None))
