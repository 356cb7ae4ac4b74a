"""What the page says of one benchmark on one dataset: the models side by side, every unit, and the sentence on it."""

from typing import Any

import polars as pl

from cellassets.benchmarks.over_correction import over_corrections
from cellassets.benchmarks.parts import TITLES
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.gate import GatePolicy
from cellassets.judging.leaderboard import OVER_CORRECTED, where
from cellassets.judging.verdict import standing_of, verdict, versus
from cellassets.reporting.chart import Chart
from cellassets.reporting.contents import DatasetPage, ReportPage
from cellassets.reporting.interval_chart import Estimate, NullBand, interval_chart
from cellassets.reporting.unit_picture import unit_chart
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

PROTOCOL = ("benchmark_name", "dataset_id", "protocol_fingerprint")
# what a badge says of the production gate
ROLES = {
    "deciding": "The production gate: a new model must be better than the model in production in this benchmark.",
    "guarded": "The production gate: a new model must not be worse than the model in production by more than a margin.",
    "": "",
}
SIDES = {"better": "worse", "worse": "better", "not distinguishable": "not distinguishable"}


def benchmark_section(page: ReportPage, dataset: DatasetPage, row: dict[str, Any]) -> dict[str, Any]:
    """Returns everything that the page shows of one benchmark on one dataset.

    Args:
        page: the tables of all models.
        dataset: the scores.
        row: the LEADERBOARD row of the page's model.
    """
    described = BENCHMARKS[row["benchmark_name"]]
    alpha = SIGNIFICANCE_LEVEL
    on_same_wells = [pl.col(name) == row[name] for name in PROTOCOL]
    peers = page.leaderboard.filter(*on_same_wells, pl.col("is_stale") == row["is_stale"]).sort(
        "rank", "model_key", nulls_last=True
    )
    compared = versus(_differences(page, row), row["model_key"]).to_dicts()
    for other in compared:
        other["standing"] = standing_of(
            other["difference"], other["q_value"], is_higher_better=described.is_higher_better, alpha=alpha
        )
    told = {**row, "title": described.title}
    scores = dataset.scores.get(described.name)
    published = dataset.published.get(described.name)
    own = pl.col("protocol_fingerprint") == row["protocol_fingerprint"]
    below = [] if scores is None else [found.describe() for found in over_corrections(described, scores.filter(own))]
    role = _role(page.policy, described.name, dataset.dataset_id)
    return {
        **told,
        "name": described.name,
        "description": described.description,
        "is_higher_better": described.is_higher_better,
        "role": role,
        "role_in_words": ROLES[role],
        "chart": _models(told, peers.to_dicts(), compared, described.headline_metric),
        "unit_chart": None if scores is None else unit_chart(scores, alpha=alpha),
        "others": [] if scores is None else _other_summaries(scores, row["metric"]),
        "published": [] if published is None else published.to_dicts(),
        "compared": compared,
        "rank_in_words": rank_in_words(row["rank"], peers["rank"].count(), is_over_corrected=bool(below)),
        "where": where(row),
        "over_corrected": below,
        "verdict": verdict(
            told,
            compared,
            is_higher_better=described.is_higher_better,
            alpha=alpha,
            over_corrected=below[0] if below else "",
        ),
    }


def rank_in_words(rank: int | None, n_models: int, *, is_over_corrected: bool) -> str:
    """Returns the rank as the page shows it: `1 of 3`, `not ranked`, or a rank that is not a merit.

    Args:
        rank: 1 is best; None where the model has seen the wells.
        n_models: models with a rank on these wells.
        is_over_corrected: true where a nuisance is below chance.
    """
    text = "not ranked" if rank is None else f"{rank} of {n_models}"
    return f"{text} ({OVER_CORRECTED}, so the rank is not a merit)" if is_over_corrected and rank else text


def _differences(page: ReportPage, row: dict[str, Any]) -> pl.DataFrame:
    """The comparisons of a benchmark on a dataset, each on all wells that the two models have not seen."""
    if row["is_stale"]:
        return page.differences.clear()
    return page.differences.filter(*(pl.col(name) == row[name] for name in ("benchmark_name", "dataset_id")))


def _role(policy: GatePolicy, benchmark_name: str, dataset_id: str) -> str:
    """What the gate makes of a benchmark: deciding, guarded or nothing."""
    if benchmark_name == policy.deciding:
        return "deciding" if policy.deciding_datasets == "all" or dataset_id in policy.deciding_datasets else ""
    guarded = {guard.benchmark_name for guard in policy.guarded}
    is_asked = policy.datasets is None or dataset_id in policy.datasets
    return "guarded" if benchmark_name in guarded and is_asked else ""


def _models(row: dict[str, Any], peers: list[dict[str, Any]], compared: list[dict[str, Any]], metric: str) -> Chart:
    by_model = {other["other"]: other for other in compared}
    estimates = [
        Estimate(
            peer["model_key"] if peer["rank"] else f"{peer['model_key']}, {TITLES[peer['exposure']]}",
            peer["value"],
            peer["interval_low"],
            peer["interval_high"],
            p_value=peer["p_value"],
            rank=peer["rank"],
            is_highlighted=peer["model_key"] == row["model_key"],
            compared=_compared(by_model.get(peer["model_key"])),
        )
        for peer in peers
    ]
    band = NullBand(row["null_low"], row["null_mean"], row["null_high"])
    return interval_chart(f"{row['title']}: all models", estimates, band, axis=metric.replace("_", " "))


def _compared(other: dict[str, Any] | None) -> str:
    """How another model stands to the page's model, as the mouse shows it."""
    if other is None:
        return ""
    difference, low, high = -other["difference"], -other["interval_high"], -other["interval_low"]
    return f"{SIDES[other['standing']]}: {difference:+.3f} ({low:+.3f} to {high:+.3f}), q = {other['q_value']:.2g}"


def _other_summaries(scores: pl.DataFrame, headline: str) -> list[dict[str, Any]]:
    return scores.filter((pl.col("level") == "summary") & (pl.col("metric") != headline)).to_dicts()
