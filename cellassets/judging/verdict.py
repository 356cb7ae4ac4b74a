"""The verdict on a model in words: its score, the chance level, and the models that it differs from.

Two models differ only where the q-value of their difference is significant; otherwise they are not distinguishable.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cellassets.benchmarks.parts import UNSEEN
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.leaderboard import where
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

WARNINGS = {
    "training": "it was trained on all of these wells, and a score on them says little about other wells",
    "validation": "its training was watched on these wells",
    "unknown": "nobody has declared what it was trained on (`cellassets model declare`)",
}


def versus(differences: pl.DataFrame, model_key: str) -> pl.DataFrame:
    """Returns the rows of a DIFFERENCES table that a model is part of, from that model's point of view.

    Adds `other` (model_key of the other model); difference and interval are this model's score minus the other's.
    """
    keys = ["benchmark_name", "metric", "dataset_id", "protocol_fingerprint", "experiments"]
    columns = [*keys, "p_value", "q_value", "n_pairs"]
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
        headline: the LEADERBOARD row of the model, with the `title` of the benchmark.
        comparisons: rows of `versus` for this benchmark and dataset.
        is_higher_better: direction of a better score.
        alpha: largest p-value and q-value at which a difference counts.
        over_corrected: the sentence on a nuisance that is below chance (`cellassets.benchmarks.over_correction`).
    """
    value, chance, p_value = (float(str(headline[name])) for name in ("value", "null_mean", "p_value"))
    what = f"{str(headline['title']).lower()} on {headline['dataset_id']}, {where(headline)}"
    if headline["is_stale"]:
        return f"{headline['model_key']} scored {value:.2f} in {what}; that score is stale, and is compared with none."
    below = "below" if over_corrected else "not distinguishable from"
    beats = "clearly more than" if p_value <= alpha else below
    start = (
        f"{headline['model_key']} scores {value:.2f} in {what}, {beats} the {chance:.2f} of chance (p = {p_value:.2g})"
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
    if headline["exposure"] not in UNSEEN:
        return (
            f"{start}. It is compared with no model: {WARNINGS[str(headline['exposure'])]}. {over_corrected}".rstrip()
        )
    beside = f"it is {_listed(phrases)}" if phrases else "no other model was judged on wells that both have not seen"
    return f"{start}; {beside}. {over_corrected}".rstrip()


def gain_in_words(
    differences: pl.DataFrame,
    model_key: str,
    baseline: str,
    *,
    benchmark_name: str,
    dataset_id: str,
    alpha: float = SIGNIFICANCE_LEVEL,
) -> str:
    """Returns plain sentences: what a model gained over a baseline on wells that neither has seen.

    The first one is about one benchmark. The second one names the headline benchmarks with a significant difference. A
    third one says how many compared benchmarks are not headline ones, if there are any.

    Args:
        differences: DIFFERENCES rows.
        model_key: the model.
        baseline: the model that it is compared with.
        benchmark_name: the benchmark of the first sentence.
        dataset_id: the dataset.
        alpha: largest q-value at which a difference counts.
    """
    rows = versus(differences, model_key).filter(pl.col("other") == baseline, pl.col("dataset_id") == dataset_id)
    by_name = {
        row["benchmark_name"]: row
        for row in rows.iter_rows(named=True)
        if BENCHMARKS[row["benchmark_name"]].is_headline
    }
    if benchmark_name not in by_name:
        return (
            f"{model_key} and {baseline} were not compared: there are no wells of {dataset_id} that neither has seen."
        )
    row = by_name[benchmark_name]
    by_standing = _by_standing(by_name, alpha)
    interval = f"{row['interval_low']:+z.2f} to {row['interval_high']:+z.2f}"
    (standing,) = (how for how, names in by_standing.items() if benchmark_name in names)
    what = {"better": "is better than", "worse": "is worse than", "not distinguishable": "shows no gain over"}[standing]
    first = (
        f"On unseen wells ({row['experiments']}), {model_key} {what} {baseline} in "
        f"{BENCHMARKS[benchmark_name].title.lower()}: {row['difference']:+z.2f} ({interval}, q = {row['q_value']:.2g})."
    )
    return f"{first} {_tally(by_standing, n_others=rows['benchmark_name'].n_unique() - len(by_name))}"


def _by_standing(by_name: dict[str, dict[str, Any]], alpha: float) -> dict[str, list[str]]:
    """Benchmarks by whether the model is better, worse or not distinguishable."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "not distinguishable": []}
    for name, row in by_name.items():
        is_higher_better = BENCHMARKS[name].is_higher_better
        standing = standing_of(row["difference"], row["q_value"], is_higher_better=is_higher_better, alpha=alpha)
        found[standing].append(name)
    return found


def _tally(by_standing: dict[str, list[str]], *, n_others: int) -> str:
    """The sentences that count headline benchmarks, with the names of those with a difference."""
    n_headlines = sum(len(names) for names in by_standing.values())
    better, worse = (_counted(by_standing[how]) for how in ("better", "worse"))
    counted = (
        f"Of {n_headlines} headline benchmarks it is better in {better} and worse in {worse}; in "
        f"{len(by_standing['not distinguishable'])} there is no clear difference."
    )
    if not n_others:
        return counted
    others = "1 other benchmark is not a headline one" if n_others == 1 else f"{n_others} others are not headline ones"
    return f"{counted} {others} and not counted."


def _counted(names: Sequence[str]) -> str:
    titles = [BENCHMARKS[name].title.lower() for name in names]
    return f"{len(titles)} ({_listed(titles)})" if titles else "none"


def _listed(items: Sequence[str]) -> str:
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} and {items[-1]}"
