"""Comparison of two models on the same wells: difference of their scores, its interval and its p-value."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.leaderboard import IS_UNSEEN
from cellassets.screens.landed import PAIR_SEPARATOR
from cellassets.statistics.permutation import Mean, benjamini_hochberg, mean_over_nodes
from cellassets.tables.schemas import DIFFERENCES

Pair = tuple[str, str]  # benchmark, dataset
AXES = ["benchmark_name", "dataset_id", "dataset_fingerprint", "protocol_fingerprint"]
PART = ["part_id", "experiments", "n_experiments"]


@dataclass(frozen=True)
class Evidence:
    """What comparisons of models are made from: SCORES rows, and INFLUENCES rows of the same runs."""

    scores: pl.DataFrame
    influences: pl.DataFrame


def compare_models(
    scores: pl.DataFrame, influences: pl.DataFrame, family: Collection[Pair] | None = None
) -> pl.DataFrame:
    """Returns one DIFFERENCES row for every benchmark, dataset and two models: on all wells that neither has seen.

    Both were scored by one protocol: on the same wells, with the same annotations, settings and code. Two models
    without wells that both have not seen are not compared.

    The difference is the mean, over the perturbations (or pairs) that both models have, of the difference of the
    benchmark's unit metric. Its standard error is that of paired differences which may share genes, plus what the
    shared control wells add (their influences); interval and p-value are Student's. `correct_within_pairs` describes
    the q-values.

    Args:
        scores: SCORES rows of any number of benchmarks, datasets and models.
        influences: INFLUENCES rows of the same runs. Without them the intervals are too narrow.
        family: benchmark and dataset of the comparisons that were declared beforehand; None: all.
    """
    rows: dict[tuple[str, ...], dict[str, object]] = {}
    for labels, evidence in same_protocol(Evidence(scores, influences)):
        for first, second in combinations(sorted(evidence.scores["model_key"].unique().to_list()), 2):
            key = str(labels["benchmark_name"]), str(labels["dataset_id"]), first, second
            difference = None if key in rows else paired_difference(evidence, first, second)
            if difference is not None:
                rows[key] = {**labels, "model_key_a": first, "model_key_b": second, **_columns(difference)}
    if not rows:
        return DIFFERENCES.empty()
    table = correct_within_pairs(pl.DataFrame(list(rows.values())), family)
    return DIFFERENCES.conform(table, source="differences").sort(*AXES, "model_key_a", "model_key_b")


def correct_within_pairs(table: pl.DataFrame, family: Collection[Pair] | None = None) -> pl.DataFrame:
    """Returns the comparisons with a q-value (Benjamini and Hochberg) that does not depend on any other model.

    The p-values of two models are corrected over the family: the comparisons that were declared beforehand. A
    comparison outside the family changes no q-value inside; its own is corrected over the family and all others
    outside. Example: scores on a dataset that is not active change no verdict on an active one.

    Args:
        table: columns benchmark_name, dataset_id, model_key_a, model_key_b and p_value.
        family: benchmark and dataset of the declared comparisons; None: all.
    """
    pairs = table.select("benchmark_name", "dataset_id").rows()
    is_declared = np.array([family is None or pair in family for pair in pairs], dtype=bool)
    models = np.array(["\n".join(keys) for keys in table.select("model_key_a", "model_key_b").rows()])
    p_values, q_values = table["p_value"].to_numpy(), np.empty(table.height)
    for models_of_pair in np.unique(models):
        is_pair = models == models_of_pair
        q_values[is_pair] = benjamini_hochberg(p_values[is_pair])
        inside = is_pair & is_declared
        q_values[inside] = benjamini_hochberg(p_values[inside])
    return table.with_columns(pl.Series("q_value", q_values))


def same_protocol(evidence: Evidence) -> Iterator[tuple[dict[str, str | int], Evidence]]:
    """Yields the evidence of every benchmark, dataset, protocol and part: its labels, and the rows of its unit metric.

    Only models that have not seen the part are in it. Larger parts come first: the largest part that two models have
    not seen holds all other such parts.
    """
    largest_first = evidence.scores.filter(IS_UNSEEN).sort("n_experiments", descending=True, maintain_order=True)
    for axes, group in largest_first.group_by(AXES + PART, maintain_order=True):
        labels = dict(zip(AXES + PART, axes, strict=True))
        chosen = BENCHMARKS.get(labels["benchmark_name"])
        if chosen is None:  # a benchmark that was removed since
            continue
        is_unit = (pl.col("metric") == chosen.unit_metric) & (pl.col("level") == "perturbation")
        shared = evidence.influences.filter(
            pl.col("metric") == chosen.unit_metric, *(pl.col(axis) == labels[axis] for axis in AXES)
        )
        yield {**labels, "metric": chosen.headline_metric}, Evidence(group.filter(is_unit), shared)


def paired_difference(evidence: Evidence, first: str, second: str) -> Mean | None:
    """Returns the mean difference of two models over the units that both have.

    None where there are no such units, and where one gene is in all pairs: its part in the difference is unknown.

    Args:
        evidence: rows of level perturbation, and influences, of one benchmark's unit metric on one dataset.
        first: a model_key.
        second: the model_key that is subtracted.
    """
    units = evidence.scores
    both = _side_by_side(units, first, second).drop_nulls()
    if both.is_empty():
        return None
    influences = evidence.influences.rename({"shared_id": "perturbation_id", "influence": "value"})
    shared = _side_by_side(influences, first, second).fill_null(0.0)
    names = both["perturbation_id"].to_list()
    is_pair = units["unit"][0] == "pair"
    nodes = np.array([name.split(PAIR_SEPARATOR) for name in names] if is_pair else names).reshape(len(names), -1)
    mean = mean_over_nodes(_difference(both), nodes, influences=_difference(shared))
    return mean if np.isfinite(mean.standard_error) else None


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
