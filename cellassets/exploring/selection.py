"""What is enriched among some rows of a map: the hypergeometric test of each annotated set.

The test takes names as exchangeable over the whole map. Perturbations of the same plates are alike without any biology:
where the plates hold related genes together, the published clusters (`map_clusters`), whose p-values are permuted
within plates, are the stricter answer.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Int

from cellassets.exploring.known_relations import RowSets
from cellassets.statistics.permutation import benjamini_hochberg

MIN_SET_ROWS = 2
SCHEMA: pl.Schema = pl.Schema(
    {
        "source": pl.String(),
        "set_id": pl.String(),
        "n_overlap": pl.Int64(),
        "n_selected": pl.Int64(),
        "n_set": pl.Int64(),
        "n_background": pl.Int64(),
        "expected": pl.Float64(),
        "p_value": pl.Float64(),
        "q_value": pl.Float64(),
        "members": pl.List(pl.String),
    }
)


def enriched_sets(
    selected: Int[np.ndarray, "row"], sources: Sequence[RowSets], perturbation_ids: Sequence[str]
) -> pl.DataFrame:
    """Returns one row per set with a selected member, smallest p-value first.

    Args:
        selected: rows of the map, each once.
        sources: annotation sources as sets of rows.
        perturbation_ids: of all rows.

    Returns:
        The p-value is the upper tail of the hypergeometric distribution. The q-value is Benjamini and Hochberg's over
        all sets of the source with two rows or more; sets without a selected member count with a p-value of 1.
    """
    found = [_of_source(np.unique(selected), source, perturbation_ids) for source in sources]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *found]).sort("p_value", "source", "set_id")


def _of_source(selected: Int[np.ndarray, "row"], source: RowSets, perturbation_ids: Sequence[str]) -> pl.DataFrame:
    from scipy.stats import hypergeom

    tested = {name: rows for name, rows in source.sets.items() if len(rows) >= MIN_SET_ROWS}
    known = np.intersect1d(selected, source.background)
    overlaps = [np.intersect1d(known, rows) for rows in tested.values()]
    n_overlap, n_set = np.array([len(o) for o in overlaps], int), np.array([len(r) for r in tested.values()], int)
    p_values = hypergeom.sf(n_overlap - 1, len(source.background), n_set, len(known))
    columns = {
        "source": [source.name] * len(tested),
        "set_id": list(tested),
        "n_overlap": n_overlap,
        "n_selected": [len(known)] * len(tested),
        "n_set": n_set,
        "n_background": [len(source.background)] * len(tested),
        "expected": n_set * (len(known) / max(1, len(source.background))),
        "p_value": p_values,
        "q_value": benjamini_hochberg(p_values) if tested else p_values,
        "members": [[perturbation_ids[row] for row in rows] for rows in overlaps],
    }
    return pl.DataFrame(columns, schema=SCHEMA).filter(pl.col("n_overlap") > 0)
