"""Two models on the same wells: the difference of their scores, its interval and its p-value."""

from itertools import combinations

import numpy as np
import polars as pl

from cellassets.scoring.benchmark import BENCHMARKS
from cellassets.scoring.relationships import PAIR_SEPARATOR
from cellassets.scoring.statistics import benjamini_hochberg, bootstrap_means, interval
from cellassets.tables.schemas import DIFFERENCES

AXES = ["benchmark_name", "dataset_id", "dataset_fingerprint"]


def compare_models(scores: pl.DataFrame, *, seed: int, n_resamples: int = 4000) -> pl.DataFrame:
    """Returns a DIFFERENCES row for every two models that a benchmark scored on the same wells.

    Args:
        scores: SCORES rows of any number of benchmarks, datasets and models.
        seed: decides the resamples; the same for all comparisons.
        n_resamples: resamples of perturbations (of genes, where pairs are scored).

    The difference is the mean, over the perturbations that both models have, of what the benchmark's unit metric says
    of each. Interval and p-value come from resampling perturbations: p = 2 min(share of resamples at or below 0, share
    at or above 0), with the +1 rule. q-values are corrected over the whole table (Benjamini and Hochberg).

    Source: paired bootstrap, Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 13 and 16.
    """
    rows = []
    for axes, group in scores.filter(pl.col("level") == "perturbation").group_by(AXES, maintain_order=True):
        labels = dict(zip(AXES, axes, strict=True))
        chosen = BENCHMARKS.get(str(labels["benchmark_name"]))
        if chosen is None:  # of a benchmark that was taken out since
            continue
        units = group.filter(pl.col("metric") == chosen.unit_metric)
        for first, second in combinations(sorted(units["model_key"].unique().to_list()), 2):
            compared = _compare(units, first, second, seed=seed, n_resamples=n_resamples)
            if compared is not None:
                rows.append(
                    {
                        **labels,
                        "metric": chosen.headline_metric,
                        "model_key_a": first,
                        "model_key_b": second,
                        **compared,
                    }
                )
    if not rows:
        return DIFFERENCES.empty()
    table = pl.DataFrame(rows)
    q_values = benjamini_hochberg(table["p_value"].to_numpy())
    return DIFFERENCES.conform(table.with_columns(pl.Series("q_value", q_values)), source="differences").sort(
        *AXES, "model_key_a", "model_key_b"
    )


def _compare(
    units: pl.DataFrame, first: str, second: str, *, seed: int, n_resamples: int
) -> dict[str, float | int] | None:
    columns = ("perturbation_id", "value")
    both = (
        units.filter(pl.col("model_key") == first)
        .select(columns)
        .join(units.filter(pl.col("model_key") == second).select(columns), on="perturbation_id", suffix="_b")
        .sort("perturbation_id")
    )
    if both.is_empty():
        return None
    differences = (both["value"] - both["value_b"]).to_numpy()
    nodes = np.array([name.split(PAIR_SEPARATOR) for name in both["perturbation_id"].to_list()])
    draws = bootstrap_means(differences, nodes, n_resamples=n_resamples, seed=seed)
    low, high = interval(draws)
    n_below, n_above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return {
        "difference": float(differences.mean()),
        "interval_low": low,
        "interval_high": high,
        "p_value": min(1.0, 2 * (1 + min(n_below, n_above)) / (1 + len(draws))),
        "n_pairs": both.height,
    }
