"""Decisions of the production gate without a comparison: the first champion, a deleted champion, an override.

Comparisons are in `cellassets.judging.gate`; what is published, and the alias in MLflow, in
`cellassets.stages.production_model`.
"""

from typing import Annotated

import polars as pl
from pydantic import StringConstraints

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters, validate
from cellassets.judging.gate import Decision, GatePolicy
from cellassets.judging.leaderboard import IS_UNSEEN, where

NOTHING_UNSEEN = "no score on wells that it has not seen"


class Override(Parameters):
    """A person puts the candidate into production whatever the gate says, and says why."""

    approved_by: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]


def load_override(reason: str | None, approved_by: str | None) -> Override | None:
    """Returns the override that a person asked for; None where none was.

    Raises:
        ConfigError: a reason without a name, a name without a reason, or a reason of less than ten characters.
    """
    if reason is None and approved_by is None:
        return None
    given = {name: value for name, value in (("reason", reason), ("approved_by", approved_by)) if value is not None}
    return validate(given, Override, source="override of the production gate")


def judge_first(scores: pl.DataFrame, policy: GatePolicy, candidate: str) -> Decision:
    """Where nothing is in production yet the candidate must beat chance on wells that it has not seen."""
    rows = []
    for dataset_id in policy.deciding_on:
        headline = BENCHMARKS[policy.deciding].headline_metric
        found = scores.filter(
            (pl.col("benchmark_name") == policy.deciding)
            & (pl.col("dataset_id") == dataset_id)
            & (pl.col("level") == "summary")
            & (pl.col("metric") == headline)
            & (pl.col("model_key") == candidate)
            & IS_UNSEEN
        ).sort("n_experiments", descending=True)
        best = found.row(0, named=True) if found.height else None
        p_value = None if best is None else best["p_value"]
        is_passed = p_value is not None and p_value <= policy.alpha
        told = NOTHING_UNSEEN if best is None else f"p = {p_value:.2g} against chance, {where(best)}"
        verdict = f"{policy.deciding} on {dataset_id}: {told}; there is no champion to compare with"
        row = {"role": "deciding", "benchmark_name": policy.deciding, "dataset_id": dataset_id, "p_value": p_value}
        rows.append({**row, "is_passed": is_passed, "verdict": verdict})
    return Decision.of(rows)


def refuse_all(policy: GatePolicy, reason: str) -> Decision:
    """Where there is nothing to compare with nothing is passed."""
    rows = [
        {
            "role": "deciding",
            "benchmark_name": policy.deciding,
            "dataset_id": dataset_id,
            "is_passed": False,
            "verdict": f"{policy.deciding} on {dataset_id}: not compared, {reason}",
        }
        for dataset_id in policy.deciding_on
    ]
    return Decision.of(rows)
