"""The verdict on a model in words: its score, the chance level, and the models that it differs from.

Two models differ only where the q-value of their difference is significant; otherwise they are not distinguishable.
"""

from collections.abc import Sequence

import polars as pl

from cellassets.statistics.significance import SIGNIFICANCE_LEVEL


def versus(differences: pl.DataFrame, model_key: str) -> pl.DataFrame:
    """Returns the rows of a DIFFERENCES table that a model is part of, from that model's point of view.

    Adds `other` (model_key of the other model); difference and interval are this model's score minus the other's.
    """
    columns = ["benchmark_name", "metric", "dataset_id", "protocol_fingerprint", "p_value", "q_value", "n_pairs"]
    ahead = differences.filter(pl.col("model_key_a") == model_key).select(
        *columns, pl.col("model_key_b").alias("other"), "difference", "interval_low", "interval_high"
    )
    behind = differences.filter(pl.col("model_key_b") == model_key).select(
        *columns,
        pl.col("model_key_a").alias("other"),
        -pl.col("difference"),
        (-pl.col("interval_high")).alias("interval_low"),
        (-pl.col("interval_low")).alias("interval_high"),
    )
    return pl.concat([ahead, behind]).sort("dataset_id", "benchmark_name", "other")


def standing_of(difference: float, q_value: float, *, is_higher_better: bool, alpha: float = SIGNIFICANCE_LEVEL) -> str:
    """Returns `better`, `worse` or `not distinguishable`, from the point of view of the first model.

    A difference counts where its q-value is at most `alpha`.
    """
    if q_value > alpha or difference == 0:
        return "not distinguishable"
    return "better" if (difference > 0) == is_higher_better else "worse"


def verdict(
    headline: dict[str, object],
    comparisons: Sequence[dict[str, object]],
    *,
    is_higher_better: bool,
    alpha: float = SIGNIFICANCE_LEVEL,
    over_corrected: str = "",
) -> str:
    """Returns one sentence on a model, one dataset and one benchmark; a second one if a nuisance is below chance.

    Args:
        headline: `model_key`, `title`, `dataset_id`, `value`, `null_mean`, `p_value` and `is_stale`.
        comparisons: rows of `versus` for this benchmark and dataset.
        is_higher_better: direction of a better score.
        alpha: largest p-value and q-value at which a difference counts.
        over_corrected: the sentence on a nuisance that is below chance (`cellassets.benchmarks.over_correction`).
    """
    value, chance, p_value = (float(str(headline[name])) for name in ("value", "null_mean", "p_value"))
    where = f"{str(headline['title']).lower()} on {headline['dataset_id']}"
    if headline["is_stale"]:
        return f"{headline['model_key']} scored {value:.2f} in {where}; that score is stale, and is compared with none."
    below = "below" if over_corrected else "not distinguishable from"
    beats = "clearly more than" if p_value <= alpha else below
    start = (
        f"{headline['model_key']} scores {value:.2f} in {where}, {beats} the {chance:.2f} of chance (p = {p_value:.2g})"
    )
    by_standing: dict[str, list[str]] = {"better": [], "worse": [], "not distinguishable": []}
    for row in comparisons:
        difference, q_value = float(str(row["difference"])), float(str(row["q_value"]))
        how = standing_of(difference, q_value, is_higher_better=is_higher_better, alpha=alpha)
        detail = f" by {abs(difference):.2f}, q = {q_value:.2g}" if how != "not distinguishable" else ""
        by_standing[how].append(f"{row['other']}{detail}")
    phrases = [
        f"{phrase} {_listed(by_standing[how])}"
        for how, phrase in (
            ("better", "better than"),
            ("worse", "worse than"),
            ("not distinguishable", "not distinguishable from"),
        )
        if by_standing[how]
    ]
    beside = f"it is {_listed(phrases)}" if phrases else "no other model was judged on the same wells"
    return f"{start}; {beside}. {over_corrected}".rstrip()


def _listed(items: Sequence[str]) -> str:
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} and {items[-1]}"
