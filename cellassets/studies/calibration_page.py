"""The page of the calibration study: a picture of every benchmark's p-values, and tables of their counts."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cellassets.benchmarks.definition import Subject
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.studies.calibration import summarise
from cellassets.studies.calibration_picture import calibration_picture
from cellassets.studies.calibration_published import PUBLISHED
from cellassets.studies.calibration_scenarios import scenarios_of

__all__ = ["calibration_page", "calibration_picture"]

INTRODUCTION = """# Calibration of the benchmarks

`{command}` writes this page. It runs every registered benchmark on {n_null} simulated screens per null scenario. Do not
edit the page by hand. [statistics.md](statistics.md) explains how the null distributions are made.

![Distribution of p-values under every null scenario](images/calibration.svg)

Each panel shows one benchmark's headline score in every null scenario: the fraction of screens with a p-value at or
below each value. A calibrated test follows the diagonal. A curve above it has more small p-values than it should have.

## Nothing to find: fraction of p-values at or below 0.05

The number in brackets is the p-value of a Kolmogorov-Smirnov test against the uniform distribution. A small number
means: not uniform. Both too many small p-values and too many large ones make it small. `headline` is the summary that
models are ranked by. `one unit` is one perturbation (or pair, or compound) per screen, another one in each screen.
`published` is the statistic of the literature on the same screens, computed as in its own code
([published-statistics.md](published-statistics.md)). Bold numbers are above the 99th percentile of what a calibrated
test would give with as many screens; among a few hundred cells, about one in a hundred is bold by chance alone.

All p-values of *one unit* can be above 0.05 where one unit has few partners to exchange names with. With n of them, the
unit itself included, no p-value is below about 1/n. Example: in `compound_gene_matching` eight genes exchange names,
and *one unit* is 0.000 everywhere. Such p-values are too large, never too small.
"""


def calibration_page(study: pl.DataFrame, *, command: str) -> str:
    """Returns the Markdown page of a study.

    Args:
        study: rows of `run_study`.
        command: the command that made the study.
    """
    found = summarise(study)
    n_null = int(study.filter("is_null")["seed"].max() or 0) + 1  # type: ignore[arg-type]
    lines = [INTRODUCTION.format(command=command, n_null=n_null)]
    for subject in sorted({BENCHMARKS[name].asks_about for name in study["benchmark_name"].unique()}):
        lines += _null_tables(found, subject)
    lines += ["## Something planted: fraction of p-values at or below 0.05 (power)", "", *_power_tables(found)]
    return "\n".join(lines) + "\n"


def _null_tables(found: pl.DataFrame, subject: Subject) -> list[str]:
    scenarios = [scenario for scenario in scenarios_of(subject) if scenario.is_null]
    names = [name for name in sorted(BENCHMARKS) if BENCHMARKS[name].asks_about == subject]
    lines = [f"**Benchmarks of {subject.replace('_', ' ')}.** The null scenarios:", ""]
    lines += [f"- *{scenario.name}*: {scenario.words}" for scenario in scenarios]
    head = ["benchmark", "p-value of", *(scenario.name for scenario in scenarios)]
    lines += ["", _line(head), _line(["---"] * len(head))]
    for name in names:
        kinds = [(BENCHMARKS[name].headline_metric, "headline"), ("unit", "one unit")]
        kinds += [("published", f"published: {PUBLISHED[name][0]}")] if name in PUBLISHED else []
        for metric, words in kinds:
            rows = found.filter((pl.col("benchmark_name") == name) & (pl.col("metric") == metric) & pl.col("is_null"))
            by_scenario = {row["scenario"]: row for row in rows.iter_rows(named=True)}
            if by_scenario:
                lines.append(_line([name, words, *(_cell(by_scenario.get(s.name)) for s in scenarios)]))
    return [*lines, ""]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "does not apply"
    share = f"{row['called_frac']:.3f}"
    marked = f"**{share}**" if row["called_frac"] > row["most_expected"] else share
    return f"{marked} ({row['ks_p_value']:.2f})"


def _power_tables(found: pl.DataFrame) -> list[str]:
    lines = []
    for subject in sorted({BENCHMARKS[name].asks_about for name in found["benchmark_name"].unique()}):
        scenarios = [scenario for scenario in scenarios_of(subject) if not scenario.is_null]
        head = ["benchmark", *(scenario.name for scenario in scenarios)]
        lines += [f"**{subject.replace('_', ' ')}**", "", _line(head), _line(["---"] * len(head))]
        for name in (name for name in sorted(BENCHMARKS) if BENCHMARKS[name].asks_about == subject):
            rows = found.filter(
                (pl.col("benchmark_name") == name) & (pl.col("metric") == BENCHMARKS[name].headline_metric)
            )
            by_scenario = {row["scenario"]: f"{row['called_frac']:.2f}" for row in rows.iter_rows(named=True)}
            if by_scenario:
                lines.append(_line([name, *(by_scenario.get(scenario.name, "") for scenario in scenarios)]))
        lines.append("")
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
