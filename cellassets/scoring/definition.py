"""What a benchmark is: one function with a decorator. This module is free of heavy imports.

    @benchmark(title=..., description=..., code_version="1", parameters=MyParameters, ranked_by=...)
    def my_benchmark(judged: JudgedMap, parameters: MyParameters) -> list[Score]: ...

The catalogue of all benchmarks is `cellassets.scoring.benchmark`; `docs/add-a-benchmark.md` shows the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.configuration import Parameters
from cellassets.errors import ConfigError

BENCHMARKS: dict[str, "Benchmark"] = {}


@dataclass(frozen=True)
class JudgedMap:
    """All that a benchmark may look at: one map, its wells, and what is known of biology.

    Attributes:
        wells: WELL_EMBEDDINGS rows after alignment, controls included.
        vectors: their vectors.
        units: what each well counts as (gene, or perturbation), a name that replicates share.
        is_treatment: wells that are no controls.
        is_held_out_control: negative controls that alignment never saw; only these are exchangeable with treatments.
        plate_index: number of the plate of each well; labels are exchangeable within it.
        map_table: PERTURBATION_MAP rows.
        known_pairs: annotation source to its pairs (entity1, entity2).
    """

    wells: pl.DataFrame
    vectors: Float[np.ndarray, "well feature"]
    units: tuple[str, ...]
    is_treatment: Bool[np.ndarray, "well"]
    is_held_out_control: Bool[np.ndarray, "well"]
    plate_index: Int[np.ndarray, "well"]
    map_table: pl.DataFrame
    known_pairs: dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Score:
    """One row of a SCORES table, without what all rows of a run share.

    Rows of level `perturbation` are what the summary is the mean of. Rows of level `control` say how much it hangs on
    a control well that all perturbations share (`cellassets.scoring.rows.influence_scores`).
    """

    metric: str
    level: Literal["summary", "perturbation", "control"]
    value: float
    null_mean: float
    null_low: float
    null_high: float
    p_value: float
    n_units: int
    unit: Literal["well", "pair", "perturbation"]
    perturbation_id: str | None = None
    q_value: float | None = None
    correction: str = "none"
    interval_low: float | None = None
    interval_high: float | None = None


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
    parameters: type[Parameters]
    headline_metric: str
    unit_metric: str
    is_higher_better: bool
    uses_annotations: bool
    score: Callable[[JudgedMap, Any], list[Score]]


def benchmark(
    *,
    title: str,
    description: str,
    code_version: str,
    parameters: type[Parameters],
    ranked_by: RankedBy,
    uses_annotations: bool = False,
) -> Callable[[Callable[[JudgedMap, Any], list[Score]]], Callable[[JudgedMap, Any], list[Score]]]:
    """Registers a function as a benchmark under its own name.

    Args:
        title: what people see.
        description: a sentence or two in plain words: what a high value means, and what chance would give.
        code_version: raise it when the same map would get other scores; everything is then scored anew.
        parameters: its settings; `configs/benchmarks/<name>.yaml` overrides their defaults.
        ranked_by: the summary row to rank models by, and the rows of level perturbation that it is the mean of.
        uses_annotations: whether known pairs are needed.

    Raises:
        ConfigError: another benchmark has this name.
    """

    def register(score: Callable[[JudgedMap, Any], list[Score]]) -> Callable[[JudgedMap, Any], list[Score]]:
        name = score.__name__
        if name in BENCHMARKS and BENCHMARKS[name].score.__module__ != score.__module__:
            message = f"benchmark {name} is there already, in {BENCHMARKS[name].score.__module__}; call yours otherwise"
            raise ConfigError(message)
        BENCHMARKS[name] = Benchmark(
            name=name,
            title=title,
            description=description,
            code_version=code_version,
            parameters=parameters,
            headline_metric=ranked_by.metric,
            unit_metric=ranked_by.unit_metric,
            is_higher_better=ranked_by.is_higher_better,
            uses_annotations=uses_annotations,
            score=score,
        )
        return score

    return register
