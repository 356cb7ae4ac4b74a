"""The calibration study: every registered benchmark on simulated screens, without and with planted effects.

Without effects (under each null scenario) p-values must be uniform. With planted effects they must become small, the
more so the larger the effects and the more replicates there are. A null scenario leaves out what the benchmark measures
(`asks_about`). The page is made in `cellassets.studies.calibration_page`; the scenarios are in
`calibration_scenarios.py`.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import polars as pl

from cellassets.benchmarks.definition import Benchmark, PermutationParameters, Score
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import NotApplicable
from cellassets.progress import Progress, no_progress
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.studies.calibration_published import PUBLISHED
from cellassets.studies.calibration_scenarios import Scenario, scenarios_of
from cellassets.studies.simulated import simulate_map

N_PERMUTATIONS = 199
SCHEMA = {
    "benchmark_name": pl.String,
    "scenario": pl.String,
    "is_null": pl.Boolean,
    "effect": pl.Float64,
    "n_plates": pl.Int64,
    "seed": pl.Int64,
    "metric": pl.String,
    "p_value": pl.Float64,
}


@dataclass(frozen=True)
class _Task:
    """One simulated screen, and the benchmarks that score it."""

    names: tuple[str, ...]
    scenario: Scenario
    seed: int


def run_study(
    names: Sequence[str], *, n_null: int, n_power: int, n_workers: int = 1, progress: Progress = no_progress
) -> pl.DataFrame:
    """Returns one row per p-value.

    There is one p-value of every summary metric, one of one unit per seed (metric `unit`), and, under nulls, one of the
    published statistic that stands beside the benchmark (metric `published`).

    Args:
        names: benchmarks.
        n_null: seeds of every null scenario.
        n_power: seeds of every planted scenario.
        n_workers: processes.
        progress: called at the end of every simulated screen.
    """
    tasks = list(_tasks(names, n_null, n_power))
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        results: Iterable[list[dict[str, object]]] = (
            pool.map(run_task, tasks, chunksize=4) if n_workers > 1 else map(run_task, tasks)
        )
        for done, found in enumerate(results, start=1):
            rows += found
            progress(done, len(tasks), "simulated screens")
    return pl.DataFrame(rows, schema=SCHEMA)


def _tasks(names: Sequence[str], n_null: int, n_power: int) -> Iterable[_Task]:
    """Benchmarks that measure the same thing share their screens."""
    for subject in sorted({BENCHMARKS[name].asks_about for name in names}):
        asked = tuple(name for name in names if BENCHMARKS[name].asks_about == subject)
        for scenario in scenarios_of(subject):
            for seed in range(round(scenario.seeds_frac * (n_null if scenario.is_null else n_power))):
                yield _Task(asked, scenario, seed)


def run_task(task: _Task) -> list[dict[str, object]]:
    """Returns the p-values of one simulated screen."""
    design = task.scenario.design.model_copy(update={"seed": task.seed})
    judged = simulate_map(design, parameters=task.scenario.parameters, n_other_maps=1)
    shared = {
        "scenario": task.scenario.name,
        "is_null": task.scenario.is_null,
        "effect": task.scenario.effect,
        "n_plates": design.n_batches * design.n_plates_per_batch,
        "seed": task.seed,
    }
    rows = []
    for name in task.names:
        chosen = BENCHMARKS[name]
        try:
            scores = chosen.score(judged, _settings(chosen, task))
        except NotApplicable:
            continue
        found = _p_values(chosen, scores, task.seed)
        if name in PUBLISHED and task.scenario.is_null:
            found.append({"metric": "published", "p_value": PUBLISHED[name][1](judged, task.seed)})
        rows += [{**shared, "benchmark_name": name, **row} for row in found]
    return rows


def _settings(chosen: Benchmark, task: _Task) -> PermutationParameters:
    """The benchmark's parameters; not with the simulation's own seed: both would draw the same random numbers."""
    model = chosen.parameters
    own = {name: value for name, value in task.scenario.of_benchmarks.items() if name in model.model_fields}
    return model.model_validate({"n_permutations": N_PERMUTATIONS, "seed": task.seed + 10_000, **own})


def _p_values(chosen: Benchmark, scores: list[Score], seed: int) -> list[dict[str, object]]:
    """Of the summaries, and of a different unit for each seed (all units of one screen depend on each other)."""
    found: list[dict[str, object]] = [
        {"metric": row.metric, "p_value": row.p_value} for row in scores if row.level == "summary"
    ]
    units = [row for row in scores if row.level == "perturbation" and row.metric == chosen.unit_metric]
    return [*found, {"metric": "unit", "p_value": units[seed % len(units)].p_value}] if units else found


def summarise(study: pl.DataFrame) -> pl.DataFrame:
    """Returns one row per benchmark, scenario and metric.

    `called_frac` is the share of significant p-values: false positives, or the power where effects are planted.
    `ks_p_value` is that of a Kolmogorov-Smirnov test against the uniform distribution. `most_expected` is the 99th
    percentile of `called_frac` for a calibrated test with as many seeds.
    """
    from scipy.stats import binom, kstest

    rows = []
    axes = ["benchmark_name", "scenario", "is_null", "effect", "n_plates", "metric"]
    for keys, group in study.group_by(axes, maintain_order=True):
        values = group["p_value"].to_numpy()
        rows.append(
            {
                **dict(zip(axes, keys, strict=True)),
                "n_seeds": len(values),
                "called_frac": float(np.mean(values <= SIGNIFICANCE_LEVEL)),
                "ks_p_value": float(kstest(values, "uniform").pvalue),
                "most_expected": float(binom.ppf(0.99, len(values), SIGNIFICANCE_LEVEL) / len(values)),
            }
        )
    return pl.DataFrame(rows)
