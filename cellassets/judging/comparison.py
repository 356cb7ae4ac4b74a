"""Two models on the same wells: the difference of their scores, its interval and its p-value."""

from itertools import combinations

import numpy as np
import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.screens.layout import PAIR_SEPARATOR
from cellassets.statistics.permutation import Mean, benjamini_hochberg, mean_over_nodes
from cellassets.tables.schemas import DIFFERENCES

AXES = ["benchmark_name", "dataset_id", "dataset_fingerprint", "protocol_fingerprint"]


def compare_models(scores: pl.DataFrame) -> pl.DataFrame:
    """Returns a DIFFERENCES row for every two models that a benchmark scored by one protocol.

    That is on the same wells, with the same annotations, settings and code.

    The difference is the mean, over the perturbations (or pairs) that both models have, of what the benchmark's unit
    metric says of each. Its standard error is that of paired differences which may share genes, plus what the shared
    control wells add (rows of level `control`); interval and p-value are Student's. q-values are corrected over the
    whole table (Benjamini and Hochberg).

    Args:
        scores: SCORES rows of any number of benchmarks, datasets and models.
    """
    rows = []
    for axes, group in scores.group_by(AXES, maintain_order=True):
        labels = dict(zip(AXES, axes, strict=True))
        chosen = BENCHMARKS.get(str(labels["benchmark_name"]))
        if chosen is None:  # of a benchmark that was taken out since
            continue
        # a summary may have the units' metric; it is no unit
        units = group.filter((pl.col("metric") == chosen.unit_metric) & (pl.col("level") != "summary"))
        for first, second in combinations(sorted(units["model_key"].unique().to_list()), 2):
            difference = paired_difference(units, first, second)
            if difference is not None:
                keys = {"metric": chosen.headline_metric, "model_key_a": first, "model_key_b": second}
                rows.append({**labels, **keys, **_columns(difference)})
    if not rows:
        return DIFFERENCES.empty()
    table = pl.DataFrame(rows)
    q_values = benjamini_hochberg(table["p_value"].to_numpy())
    return DIFFERENCES.conform(table.with_columns(pl.Series("q_value", q_values)), source="differences").sort(
        *AXES, "model_key_a", "model_key_b"
    )


def paired_difference(units: pl.DataFrame, first: str, second: str) -> Mean | None:
    """Returns the mean difference of two models over the units that both have; None where there are none.

    Args:
        units: SCORES rows of one benchmark's unit metric on one dataset.
        first: a model_key.
        second: the model_key that is subtracted.
    """
    both = _side_by_side(units.filter(pl.col("level") == "perturbation"), first, second).drop_nulls()
    if both.is_empty():
        return None
    shared = _side_by_side(units.filter(pl.col("level") == "control"), first, second).fill_null(0.0)
    names = both["perturbation_id"].to_list()
    is_pair = units.filter(pl.col("level") == "perturbation")["unit"][0] == "pair"
    nodes = np.array([name.split(PAIR_SEPARATOR) for name in names] if is_pair else names).reshape(len(names), -1)
    return mean_over_nodes(_difference(both), nodes, influences=_difference(shared))


def _side_by_side(rows: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    """Columns perturbation_id, value, value_b, sorted; null where a model lacks the row."""
    columns = ("perturbation_id", "value")
    ours, theirs = (rows.filter(pl.col("model_key") == key).select(columns) for key in (first, second))
    return ours.join(theirs, on="perturbation_id", how="full", suffix="_b", coalesce=True).sort("perturbation_id")


def _difference(rows: pl.DataFrame) -> np.ndarray:
    return (rows["value"] - rows["value_b"]).to_numpy()


def _columns(difference: Mean) -> dict[str, float | int]:
    low, high = difference.student_interval()
    return {
        "difference": difference.value,
        "interval_low": low,
        "interval_high": high,
        "p_value": difference.two_sided_p_value(),
        "n_pairs": difference.n_units,
        "n_free": difference.n_free,
    }
