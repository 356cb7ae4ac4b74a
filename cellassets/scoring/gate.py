"""The production gate: may a candidate replace the champion? Pure: scores in, a decision with its numbers out.

A candidate must be better on the deciding benchmark and not worse on any guarded one, in paired comparisons on the same
perturbations, corrected over all comparisons that the gate makes. Who asks, and what follows, is in
`cellassets.reporting.production`.
"""

from dataclasses import dataclass

import polars as pl
from pydantic import Field, model_validator

from cellassets.configuration import Parameters
from cellassets.scoring.benchmark import BENCHMARKS
from cellassets.scoring.compare import compare_models
from cellassets.tables.schemas import GATE


class Guard(Parameters):
    """A benchmark on which the candidate must not be worse.

    Worse is a significant loss; and, where `margin` is given, a loss of more than that cannot be ruled out (the lower
    end of the difference's 95% interval lies beyond it). The margin is in the units of the benchmark's headline.
    """

    benchmark_name: str
    margin: float | None = Field(default=None, ge=0)


class GatePolicy(Parameters):
    """What a candidate must show.

    `deciding` is the benchmark that it must be better on, on every one of `deciding_datasets`; `guarded` are those that
    it must not be worse on, on all of `datasets` (None: every dataset that either model was judged on). `alpha` is the
    false discovery rate over all comparisons of one decision (Benjamini and Hochberg).
    """

    deciding: str = "known_relationships"
    deciding_datasets: tuple[str, ...] = Field(min_length=1)
    guarded: tuple[Guard, ...] = ()
    datasets: tuple[str, ...] | None = None
    alpha: float = Field(default=0.05, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> "GatePolicy":
        names = [guard.benchmark_name for guard in self.guarded]
        unknown = sorted({self.deciding, *names} - set(BENCHMARKS))
        if unknown:
            message = f"no benchmarks {unknown}; there are {sorted(BENCHMARKS)}"
            raise ValueError(message)
        if len(set(names)) < len(names) or self.deciding in names:
            message = "each benchmark once: the deciding one is no guard, and a guard is named once"
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class Decision:
    """What the gate found: a GATE row a comparison that was asked for, and whether all of them are passed."""

    comparisons: pl.DataFrame
    is_passed: bool

    @property
    def reasons(self) -> list[str]:
        """What stands against the candidate, a sentence a comparison; empty where it passed."""
        return self.comparisons.filter(~pl.col("is_passed"))["verdict"].to_list()


def judge_candidate(
    scores: pl.DataFrame, policy: GatePolicy, *, candidate: str, champion: str, does_not_apply: set[tuple[str, str]]
) -> Decision:
    """Returns whether a candidate may replace the champion.

    Args:
        scores: SCORES rows of both models, by the protocols of now.
        policy: what must be shown.
        candidate: a model_key.
        champion: another model_key.
        does_not_apply: (benchmark, dataset) that has nothing to look at; nothing is asked there.
    """
    asked = [pair for pair in _asked(scores, policy) if pair not in does_not_apply]
    ours = scores.filter(pl.col("model_key").is_in([candidate, champion]))
    wanted = pl.DataFrame(asked, schema=["benchmark_name", "dataset_id"], orient="row")
    found = compare_models(ours.join(wanted, on=["benchmark_name", "dataset_id"], how="semi"))
    by_pair = {(row["benchmark_name"], row["dataset_id"]): row for row in found.iter_rows(named=True)}
    rows = [_row(pair, by_pair.get(pair), policy, candidate) for pair in asked]
    comparisons = GATE.conform(pl.DataFrame(rows, schema=GATE.empty().schema), source="gate")
    return Decision(comparisons, bool(rows) and all(row["is_passed"] for row in rows))


def _asked(scores: pl.DataFrame, policy: GatePolicy) -> list[tuple[str, str]]:
    """Benchmark and dataset of every comparison, the deciding ones first."""
    datasets = policy.datasets or sorted(scores["dataset_id"].unique().to_list())
    guarded = [(guard.benchmark_name, dataset) for guard in policy.guarded for dataset in datasets]
    return [*((policy.deciding, dataset) for dataset in policy.deciding_datasets), *guarded]


def _row(
    pair: tuple[str, str], found: dict[str, object] | None, policy: GatePolicy, candidate: str
) -> dict[str, object]:
    """One comparison, seen from the candidate: positive differences are gains."""
    benchmark_name, dataset_id = pair
    role = "deciding" if benchmark_name == policy.deciding else "guarded"
    margin = next((guard.margin for guard in policy.guarded if guard.benchmark_name == benchmark_name), None)
    shared = {"role": role, "benchmark_name": benchmark_name, "dataset_id": dataset_id, "margin": margin}
    if found is None:
        reason = f"{benchmark_name} on {dataset_id}: the two models have no scores taken alike; backfill the benchmark"
        return {**shared, "is_passed": False, "verdict": reason}
    gain, low, high = _gain(found, candidate, is_higher_better=BENCHMARKS[benchmark_name].is_higher_better)
    q_value = float(str(found["q_value"]))
    numbers = {"gain": gain, "interval_low": low, "interval_high": high, "q_value": q_value}
    counts = {"p_value": found["p_value"], "n_pairs": found["n_pairs"]}
    is_passed, verdict = _judge(role, margin, (gain, low, q_value), policy.alpha)
    text = (
        f"{benchmark_name} on {dataset_id}: {verdict} (gain {gain:+.4f}, {low:+.4f} to {high:+.4f}, q = {q_value:.2g})"
    )
    return {**shared, **numbers, **counts, "is_passed": is_passed, "verdict": text}


def _gain(row: dict[str, object], candidate: str, *, is_higher_better: bool) -> tuple[float, float, float]:
    """Difference and interval with the sign that makes more of it better for the candidate."""
    sign = 1 if (row["model_key_a"] == candidate) == is_higher_better else -1
    ends = sorted(sign * float(str(row[name])) for name in ("interval_low", "interval_high"))
    return sign * float(str(row["difference"])), ends[0], ends[1]


def _judge(role: str, margin: float | None, numbers: tuple[float, float, float], alpha: float) -> tuple[bool, str]:
    gain, low, q_value = numbers
    is_significant = q_value <= alpha
    if role == "deciding":
        return (True, "better") if is_significant and gain > 0 else (False, "not shown to be better")
    if is_significant and gain < 0:
        return False, "worse"
    if margin is not None and low < -margin:
        return False, f"a loss of more than {margin:g} cannot be ruled out"
    return True, "not worse"
