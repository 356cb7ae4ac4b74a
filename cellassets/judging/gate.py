"""The production gate: may a candidate replace the champion? Pure: scores in, a decision with its numbers out.

A candidate must be better on the deciding benchmark, and a loss of more than the margin must be ruled out on every
guarded one, in paired comparisons on the same perturbations. `cellassets.judging.sequence` holds the level of the
deciding comparisons, `cellassets.judging.gain` the tests, and `cellassets.judging.production` the decisions without a
comparison.

Every comparison must be passed. Such a test needs no correction for the number of comparisons: a model that is no
better on one deciding dataset passes there with at most the probability of that comparison's level, and all the more
seldom passes everything (intersection-union test, Berger 1982, Technometrics 24:295).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, model_validator

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.judging.comparison import Evidence, Pair, paired_difference, same_protocol
from cellassets.judging.gain import Gain
from cellassets.judging.gate_row import deciding_row, guarded_row
from cellassets.judging.missing import why_not_compared
from cellassets.judging.sequence import level_of
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.tables.schemas import GATE


class Guard(Parameters):
    """A benchmark on which the candidate must not be worse.

    A loss of the margin or more must be ruled out: the lower end of the gain's 95% interval is above minus the margin.
    """

    benchmark_name: str = Field(description="The benchmark on which the candidate must not be worse")
    margin: float = Field(
        default=0.05,
        gt=0,
        description="A loss as large as this must be ruled out; smaller ones are accepted. In units of the headline",
    )


class GatePolicy(Parameters):
    """What a candidate must show.

    `deciding` is the benchmark that it must be better on, on every one of `deciding_datasets` (`all`: every dataset
    that the deciding benchmark has scored). `guarded` are the
    benchmarks that it must not be worse on, on all of `datasets` (None: the deciding datasets, and every dataset that
    the champion was judged on by that benchmark). `alpha` is the chance that a champion is ever replaced by a model
    that is no better on a deciding dataset; the level of each judgement is a part of it.
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
        description="Chance that a champion is ever replaced by a model that is no better, however many are judged",
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

    def at(self, number: int) -> "GatePolicy":
        """Returns the policy of one judgement: its `alpha` is the level of the deciding comparisons.

        Args:
            number: of the candidate, in the sequence of candidates against this champion.
        """
        return self.model_copy(update={"alpha": level_of(number, self.alpha)})


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

    @property
    def p_value(self) -> float | None:
        """The largest one-sided p-value of the deciding comparisons; None where a comparison could not be made."""
        if self.comparisons["p_value"].null_count():
            return None
        return float(max(self.comparisons.filter(pl.col("role") == "deciding")["p_value"].to_list()))


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
        policy: what must be shown; its `alpha` is the one-sided level of the deciding comparisons (`GatePolicy.at`).
        candidate: a model_key.
        champion: another model_key.
        champion_judged_on: benchmark and dataset of all scores of the champion, stale ones too; guards compare there.
        does_not_apply: benchmark and dataset where the benchmark applies to neither model; no guard compares there.
    """
    guarded = [pair for pair in _guarded(policy, champion_judged_on) if pair not in does_not_apply]
    margins = {guard.benchmark_name: guard.margin for guard in policy.guarded}
    gains = gains_of(evidence, candidate, champion)

    def gain(pair: Pair) -> Gain | str:
        return gains.get(pair) or why_not_compared(evidence.scores, *pair, (candidate, champion))

    decided = [(policy.deciding, dataset) for dataset in policy.deciding_on]
    rows = [
        *(deciding_row(pair, gain(pair), policy.alpha) for pair in decided),
        *(guarded_row(pair, gain(pair), margins[pair[0]]) for pair in guarded),
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


def gains_of(evidence: Evidence, candidate: str, champion: str) -> dict[Pair, Gain]:
    """Returns the gain in every benchmark and dataset, on all wells that neither model has seen."""
    is_ours = pl.col("model_key").is_in([candidate, champion])
    ours = Evidence(evidence.scores.filter(is_ours), evidence.influences.filter(is_ours))
    found: dict[Pair, Gain] = {}
    for labels, rows in same_protocol(ours):
        pair = str(labels["benchmark_name"]), str(labels["dataset_id"])
        difference = None if pair in found else paired_difference(rows, candidate, champion)
        if difference is not None:
            found[pair] = Gain(difference, is_higher_better=BENCHMARKS[pair[0]].is_higher_better)
    return found
