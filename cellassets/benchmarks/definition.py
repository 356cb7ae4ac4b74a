"""What a benchmark is: one function with a decorator. Dagster loads this module: neither numpy nor polars here.

    @benchmark(title=..., description=..., code_version="1", parameters=MyParameters, ranked_by=...)
    def my_benchmark(judged: JudgedMap, parameters: MyParameters) -> list[Score]: ...

The catalogue of all benchmarks is `cellassets.benchmarks.registry`; `docs/add-a-benchmark.md` shows the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from cellassets.configuration import Parameters
from cellassets.errors import ConfigError

BENCHMARKS: dict[str, "Benchmark"] = {}
# what a benchmark may look at beside the map and its wells; scores are stale when these change, and only then
Use = Literal["pairs", "sets", "targets", "gene_arms", "other_maps"]
# what a benchmark asks about, and so what the calibration study takes away for its null
Subject = Literal["perturbations", "batches", "chromosome_arms"]
ScoreFunction = Callable[[Any, Any], list["Score"]]  # of a JudgedMap and the benchmark's parameters


class PermutationParameters(Parameters):
    """How many permutations the null is made of, and their seed; benchmarks that need more inherit from it."""

    n_permutations: int = Field(default=1000, ge=99)
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """One row of a SCORES table, without what all rows of a run share.

    Rows of level `perturbation` are what the summary is the mean of. Rows of level `control` say how much it hangs on
    a control well that all perturbations share (`cellassets.benchmarks.rows.influence_scores`). `effect_size` is
    the value less the mean of the null, in standard deviations of the null.
    """

    metric: str
    level: Literal["summary", "perturbation", "control"]
    value: float
    null_mean: float
    null_low: float
    null_high: float
    p_value: float
    n_units: int
    unit: Literal["well", "pair", "perturbation", "batch"]  # what n_units counts; a pair's name is A|B
    perturbation_id: str | None = None
    q_value: float | None = None
    correction: str = "none"
    interval_low: float | None = None
    interval_high: float | None = None
    effect_size: float | None = None


@dataclass(frozen=True)
class RankedBy:
    """What models are ranked by: a summary metric, and the metric a unit that it is the mean of."""

    metric: str
    unit_metric: str
    is_higher_better: bool = True


@dataclass(frozen=True)
class Benchmark:
    """A registered benchmark.

    `headline_metric` is the summary row that models are ranked by; models are compared on the rows of `unit_metric`,
    of which the headline is the mean.
    """

    name: str
    title: str
    description: str
    code_version: str
    parameters: type[PermutationParameters]
    headline_metric: str
    unit_metric: str
    is_higher_better: bool
    uses: tuple[Use, ...]
    asks_about: Subject
    score: ScoreFunction


def benchmark(  # noqa: PLR0913 - what a benchmark says of itself, all of it by name
    *,
    title: str,
    description: str,
    code_version: str,
    parameters: type[PermutationParameters],
    ranked_by: RankedBy,
    uses: tuple[Use, ...] = (),
    asks_about: Subject = "perturbations",
) -> Callable[[ScoreFunction], ScoreFunction]:
    """Registers a function as a benchmark under its own name.

    Args:
        title: what people see.
        description: a sentence or two in plain words: what a high value means, and what chance would give.
        code_version: raise it when the same map would get other scores; everything is then scored anew.
        parameters: its settings; `configs/benchmarks/<name>.yaml` overrides their defaults.
        ranked_by: the summary row to rank models by, and the rows of level perturbation that it is the mean of.
        uses: kinds of annotations that it reads, and whether it reads the model's maps of other datasets.
        asks_about: what there is nothing of under its null: perturbations (labels mean nothing), batches (batches and
            plates do not differ) or chromosome_arms (genes of one arm share nothing).

    Raises:
        ConfigError: another benchmark has this name, or a parameter has no default.
    """

    def register(score: ScoreFunction) -> ScoreFunction:
        name = score.__name__
        if name in BENCHMARKS and BENCHMARKS[name].score.__module__ != score.__module__:
            message = f"benchmark {name} is there already, in {BENCHMARKS[name].score.__module__}; call yours otherwise"
            raise ConfigError(message)
        try:
            parameters()
        except ValidationError as error:
            message = f"benchmark {name}: every parameter of {parameters.__name__} needs a default ({error})"
            raise ConfigError(message) from error
        BENCHMARKS[name] = Benchmark(
            name=name,
            title=title,
            description=description,
            code_version=code_version,
            parameters=parameters,
            headline_metric=ranked_by.metric,
            unit_metric=ranked_by.unit_metric,
            is_higher_better=ranked_by.is_higher_better,
            uses=uses,
            asks_about=asks_about,
            score=score,
        )
        return score

    return register
