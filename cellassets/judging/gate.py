"""The production gate: may a candidate replace the champion? Pure: scores in, a decision with its numbers out.

A candidate must be better on the deciding benchmark and not worse on any guarded one, in paired comparisons on the same
perturbations. `cellassets.judging.production` reads the scores and acts on the decision.

Every comparison must be passed, so a correction is needed only where chance alone may give a pass: the deciding
comparisons are corrected among each other. A guard is passed unless a loss is found; correcting over many guards would
make every guard weaker.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, model_validator

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.judging.comparison import Evidence, compare_models
from cellassets.judging.missing import why_not_compared
from cellassets.statistics.permutation import least_p_value
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.tables.schemas import GATE

Pair = tuple[str, str]  # benchmark, dataset


class Guard(Parameters):
    """A benchmark on which the candidate must not be worse.

    Worse means: a loss with p of at most `alpha`; and, where `margin` is given, a loss of more than the margin that
    cannot be ruled out (the lower end of the difference's 95% interval is below it). The margin has the units of the
    benchmark's headline.
    """

    benchmark_name: str = Field(description="The benchmark on which the candidate must not be worse")
    margin: float | None = Field(
        default=None,
        ge=0,
        description="A loss larger than this must be ruled out, in units of the benchmark's headline; null: no margin",
    )


class GatePolicy(Parameters):
    """What a candidate must show.

    `deciding` is the benchmark that it must be better on, on every one of `deciding_datasets` (`all`: every dataset
    that the deciding benchmark has scored). `guarded` are the
    benchmarks that it must not be worse on, on all of `datasets` (None: the deciding datasets, and every dataset that
    the champion was judged on by that benchmark). `alpha` is the largest significant q-value of deciding comparisons
    (Benjamini and Hochberg), and p-value of guarded ones.
    """

    deciding: str = Field(
        default="known_relationships", description="The benchmark on which the candidate must be better"
    )
    deciding_datasets: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default="all", description="The datasets on which it must be better; `all` that the benchmark has scored"
    )
    guarded: tuple[Guard, ...] = Field(
        default=(), description="The benchmarks on which the candidate must not be worse"
    )
    datasets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="The datasets on which guards are checked; null: the deciding ones and the champion's",
    )
    alpha: float = Field(
        default=SIGNIFICANCE_LEVEL,
        gt=0,
        lt=1,
        description="Largest q-value of a gain, and largest p-value of a loss, that counts",
    )

    @model_validator(mode="after")
    def _check(self) -> "GatePolicy":
        names = [guard.benchmark_name for guard in self.guarded]
        unknown = sorted({self.deciding, *names} - set(BENCHMARKS))
        if unknown:
            message = f"no benchmarks {unknown}; there are {sorted(BENCHMARKS)}"
            raise ValueError(message)
        if len(set(names)) < len(names) or self.deciding in names:
            message = "name each benchmark once: as the deciding one, or as one guard"
            raise ValueError(message)
        if not BENCHMARKS[self.deciding].is_higher_better:
            message = f"{self.deciding} measures a defect (lower is better); it can be a guard and not decide"
            raise ValueError(message)
        return self

    @property
    def deciding_on(self) -> tuple[str, ...]:
        """Names of the deciding datasets.

        Raises:
            BenchmarkError: they are not known by name yet (see `on`).
        """
        if self.deciding_datasets == "all":
            message = "deciding_datasets is `all`: which these are has to be said first"
            raise BenchmarkError(message)
        return self.deciding_datasets

    def on(self, scored: Collection[str]) -> "GatePolicy":
        """Returns the policy with its deciding datasets by name.

        Args:
            scored: datasets that the deciding benchmark has scored.

        Raises:
            BenchmarkError: all of them decide and there is none.
        """
        if self.deciding_datasets != "all":
            return self
        if not scored:
            message = f"{self.deciding} decides and has not scored any dataset yet; backfill it, or wait for its scores"
            raise BenchmarkError(message)
        return self.model_copy(update={"deciding_datasets": tuple(sorted(scored))})


@dataclass(frozen=True)
class Decision:
    """The result of the gate: one GATE row per comparison, and whether all of them are passed."""

    comparisons: pl.DataFrame
    is_passed: bool

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, object]]) -> "Decision":
        """Returns the decision of these GATE rows; columns that a row lacks are null."""
        table = pl.DataFrame(rows, schema=GATE.empty().schema)
        return cls(GATE.conform(table, source="gate"), all(row["is_passed"] for row in rows))

    @property
    def reasons(self) -> list[str]:
        """The reasons against the candidate, one sentence per failed comparison; empty where it passed."""
        return self.comparisons.filter(~pl.col("is_passed"))["verdict"].to_list()


def judge_candidate(
    evidence: Evidence,
    policy: GatePolicy,
    *,
    candidate: str,
    champion: str,
    champion_judged_on: Collection[Pair],
    does_not_apply: Collection[Pair] = (),
) -> Decision:
    """Returns whether a candidate may replace the champion.

    Args:
        evidence: scores and influences of both models, by the current protocols.
        policy: what must be shown.
        candidate: a model_key.
        champion: another model_key.
        champion_judged_on: benchmark and dataset of all scores of the champion, stale ones too; guards compare there.
        does_not_apply: benchmark and dataset where the benchmark applies to neither model; no guard compares there.
    """
    deciding = [(policy.deciding, dataset) for dataset in policy.deciding_on]
    guarded = [pair for pair in _guarded(policy, champion_judged_on) if pair not in does_not_apply]
    is_ours = pl.col("model_key").is_in([candidate, champion])
    scores, influences = evidence.scores.filter(is_ours), evidence.influences.filter(is_ours)
    rows = []
    for role, pairs in (("deciding", deciding), ("guarded", guarded)):
        wanted = pl.DataFrame(pairs, schema={"benchmark_name": pl.String, "dataset_id": pl.String}, orient="row")
        found = compare_models(scores.join(wanted, on=wanted.columns, how="semi"), influences)
        by_pair = {(row["benchmark_name"], row["dataset_id"]): row for row in found.iter_rows(named=True)}
        rows += [
            _row(role, pair, by_pair[pair], policy, candidate)
            if pair in by_pair
            else _not_compared(role, pair, scores, (candidate, champion))
            for pair in pairs
        ]
    return Decision.of(rows)


def _guarded(policy: GatePolicy, champion_judged_on: Collection[Pair]) -> list[Pair]:
    """Benchmark and dataset of every guarded comparison."""
    return [
        (guard.benchmark_name, dataset)
        for guard in policy.guarded
        for dataset in policy.datasets
        or sorted({*policy.deciding_on, *(on for name, on in champion_judged_on if name == guard.benchmark_name)})
    ]


def _not_compared(role: str, pair: Pair, scores: pl.DataFrame, models: tuple[str, str]) -> dict[str, object]:
    """A comparison that could not be made, which counts against the candidate."""
    verdict = why_not_compared(scores, *pair, models)
    return {
        "role": role, "benchmark_name": pair[0], "dataset_id": pair[1], "is_passed": False, "verdict": verdict
    }  # fmt: skip


def _row(role: str, pair: Pair, found: dict[str, object], policy: GatePolicy, candidate: str) -> dict[str, object]:
    """One comparison, from the candidate's point of view: positive differences are gains."""
    benchmark_name, dataset_id = pair
    margin = next((guard.margin for guard in policy.guarded if guard.benchmark_name == benchmark_name), None)
    shared = {"role": role, "benchmark_name": benchmark_name, "dataset_id": dataset_id, "margin": margin}
    gain, low, high = _gain(found, candidate, is_higher_better=BENCHMARKS[benchmark_name].is_higher_better)
    p_value, q_value = float(str(found["p_value"])), float(str(found["q_value"]))
    if role == "deciding":
        is_passed, verdict = _is_better(gain, is_significant=q_value <= policy.alpha)
        chance = f"q = {q_value:.2g}"
    else:
        can_be_seen = least_p_value(int(str(found["n_free"]))) <= policy.alpha
        is_passed, verdict = (
            _is_not_worse(gain, low, margin, is_significant=p_value <= policy.alpha)
            if can_be_seen
            else (False, "too few units for any loss to be seen; guard something else")
        )
        chance = f"p = {p_value:.2g}"
    text = f"{benchmark_name} on {dataset_id}: {verdict} (gain {gain:+.4f}, {low:+.4f} to {high:+.4f}, {chance})"
    numbers = {"gain": gain, "interval_low": low, "interval_high": high, "p_value": p_value, "q_value": q_value}
    return {**shared, **numbers, "n_pairs": found["n_pairs"], "is_passed": is_passed, "verdict": text}


def _gain(row: dict[str, object], candidate: str, *, is_higher_better: bool) -> tuple[float, float, float]:
    """Difference and interval, signed so that a positive difference is better for the candidate."""
    sign = 1 if (row["model_key_a"] == candidate) == is_higher_better else -1
    ends = sorted(sign * float(str(row[name])) for name in ("interval_low", "interval_high"))
    return sign * float(str(row["difference"])), ends[0], ends[1]


def _is_better(gain: float, *, is_significant: bool) -> tuple[bool, str]:
    return (True, "better") if is_significant and gain > 0 else (False, "not shown to be better")


def _is_not_worse(gain: float, low: float, margin: float | None, *, is_significant: bool) -> tuple[bool, str]:
    if is_significant and gain < 0:
        return False, "worse"
    if margin is not None and low < -margin:
        return False, f"a loss of more than {margin:g} cannot be ruled out"
    return True, "not worse"
