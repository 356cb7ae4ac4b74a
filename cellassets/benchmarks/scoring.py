"""One benchmark on one map: everything that is published about it. Pure: a map goes in, tables and a summary come out.

The stage reads the records that the map comes from, and writes the tables to files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from cellassets.benchmarks.definition import Benchmark, Influence, PublishedValue, Row, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.over_correction import over_corrections
from cellassets.benchmarks.parts import WHOLE, Part, named
from cellassets.benchmarks.summary import ScoreSummary
from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.knowledge.annotations import Annotations
from cellassets.knowledge.letter_case import in_other_case
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.tables.schema import TableSchema
from cellassets.tables.schemas import INFLUENCES, PUBLISHED, SCORES


@dataclass(frozen=True)
class ScoreLabels:
    """What all rows of one run share, beside the benchmark's name.

    Attributes:
        dataset_id: the dataset.
        dataset_fingerprint: fingerprint of its wells.
        protocol_fingerprint: fingerprint of everything that the scores depend on except the model.
        model_key: the model.
        part: the part of the dataset, and what the model has seen of it.
        seen_perturbations: perturbations, genes and compounds that were classes of the training; None if not known.
    """

    dataset_id: str
    dataset_fingerprint: str
    protocol_fingerprint: str
    model_key: str
    part: Part
    seen_perturbations: frozenset[str] | None = None

    def columns(self, judged: JudgedMap) -> dict[str, Any]:
        """Returns the columns that all rows share."""
        return {
            "dataset_id": self.dataset_id,
            "dataset_fingerprint": self.dataset_fingerprint,
            "protocol_fingerprint": self.protocol_fingerprint,
            "model_key": self.model_key,
            **self.part.columns(),
            "unseen_perturbations_frac": unseen_frac(judged, self.seen_perturbations),
        }


@dataclass(frozen=True)
class Scored:
    """What is published: SCORES, INFLUENCES and PUBLISHED rows, and the summary."""

    scores: pl.DataFrame
    influences: pl.DataFrame
    published: pl.DataFrame
    summary: ScoreSummary


def score_judged(benchmark: Benchmark, judged: JudgedMap, parameters: Parameters, labels: ScoreLabels) -> Scored:
    """Returns everything that is published about one benchmark on one map.

    The tables are empty where the benchmark does not apply, and the summary says why.

    Args:
        benchmark: computes the rows.
        judged: the map.
        parameters: of the benchmark.
        labels: the columns that all rows share.

    Raises:
        BenchmarkError: the benchmark cannot be computed on this map, or returned rows that cannot be published.
    """
    sources = _n_rows(judged.annotations) | _n_other_case(judged)
    shared = {"benchmark_name": benchmark.name, **labels.columns(judged)}
    try:
        rows = benchmark.rows(judged, parameters)
        scores = checked_scores(benchmark.name, [row for row in rows if isinstance(row, Score)])
        headline = _headline(benchmark, scores)
    except NotApplicable as reason:
        summary = ScoreSummary.model_validate({"does_not_apply": str(reason), **sources})
        return Scored(SCORES.empty(), INFLUENCES.empty(), PUBLISHED.empty(), summary)
    published, missing = _published(benchmark, judged, parameters)
    table = scores_table(scores, is_higher_better=benchmark.is_higher_better, **shared)
    found = over_corrections(benchmark, table)
    below = {"over_corrected": found[0].describe()} if found else {}
    return Scored(
        table,
        influences_table(rows, **shared),
        _labelled(published, PUBLISHED, shared),
        ScoreSummary.model_validate({**headline, **below, **missing, **sources}),
    )


@dataclass(frozen=True)
class ScoredParts:
    """What is published about all parts of a dataset: the tables of `Scored`, and one summary per part."""

    scores: pl.DataFrame
    influences: pl.DataFrame
    published: pl.DataFrame
    summaries: tuple[ScoreSummary, ...]


def score_parts(
    benchmark: Benchmark, parts: Sequence[tuple[JudgedMap, ScoreLabels]], parameters: Parameters
) -> ScoredParts:
    """Returns everything that is published about one benchmark on the parts of one map.

    A benchmark that cannot be computed on some experiments of a dataset, because they are too few, does not apply to
    that part, and its summary says why.

    Args:
        benchmark: computes the rows.
        parts: the map of each part, and the labels of its rows.
        parameters: of the benchmark.

    Raises:
        BenchmarkError: the benchmark cannot be computed on the whole map.
    """
    found = [_score_part(benchmark, judged, parameters, labels) for judged, labels in parts]
    return ScoredParts(
        pl.concat([one.scores for one in found]),
        pl.concat([one.influences for one in found]),
        pl.concat([one.published for one in found]),
        tuple(one.summary for one in found),
    )


def _score_part(benchmark: Benchmark, judged: JudgedMap, parameters: Parameters, labels: ScoreLabels) -> Scored:
    try:
        return score_judged(benchmark, judged, parameters, labels)
    except BenchmarkError as error:
        if labels.part.part_id == WHOLE:
            raise
        reason = f"too little in {named(labels.part.experiments)}: {error}"
        summary = ScoreSummary(does_not_apply=reason, is_too_small=True)
        return Scored(SCORES.empty(), INFLUENCES.empty(), PUBLISHED.empty(), summary)


def unseen_frac(judged: JudgedMap, seen: frozenset[str] | None) -> float | None:
    """Returns the share of a map's perturbations that were no classes of the training; None if that is not known.

    A perturbation was seen if its own name, its gene or its compound was.
    """
    names = judged.wells.filter(judged.is_treatment).select("perturbation_id", "gene_symbol", "compound_id").unique()
    if seen is None or names.is_empty():
        return None
    is_seen = pl.any_horizontal(pl.all().is_in(list(seen)).fill_null(value=False))
    return 1 - float(names.select(is_seen.mean()).item())


def scores_table(rows: Sequence[Row], *, is_higher_better: bool, **labels: Any) -> pl.DataFrame:
    """Returns the SCORES rows among the rows of a benchmark.

    Args:
        rows: what the benchmark returned.
        is_higher_better: direction of a better model.
        labels: the columns that all rows share.
    """
    scores = [row for row in rows if isinstance(row, Score)]
    known = {"unseen_perturbations_frac": None, **labels, "is_higher_better": is_higher_better}
    return _labelled(scores, SCORES, known)


def influences_table(rows: Sequence[Row], **labels: Any) -> pl.DataFrame:
    """Returns the INFLUENCES rows among the rows of a benchmark.

    Args:
        rows: what the benchmark returned.
        labels: the columns that all rows share.
    """
    return _labelled([row for row in rows if isinstance(row, Influence)], INFLUENCES, labels)


def checked_scores(benchmark_name: str, scores: list[Score]) -> list[Score]:
    """Returns the scores.

    Raises:
        BenchmarkError: a value is not finite, a p-value is outside (0, 1], or two rows are of one unit. Published, such
            a row would spoil every comparison that it is part of.
    """
    seen = set()
    for row in scores:
        name = f"{row.metric} {row.perturbation_id or ''}".strip()
        numbers = (row.value, row.null_mean, row.null_low, row.null_high)
        if not all(map(math.isfinite, numbers)) or not 0 < row.p_value <= 1:
            message = (
                f"{benchmark_name} returned {name} with value {row.value}, null {row.null_mean} ({row.null_low} to "
                f"{row.null_high}) and p-value {row.p_value}; expected finite numbers and a p-value in (0, 1]"
            )
            raise BenchmarkError(message)
        key = (row.metric, row.level, row.perturbation_id)
        if key in seen:
            message = f"{benchmark_name} returned two rows of {name} at level {row.level}; expected one row per unit"
            raise BenchmarkError(message)
        seen.add(key)
    return scores


def _labelled(
    rows: Sequence[Score | Influence | PublishedValue], schema: TableSchema, labels: Mapping[str, Any]
) -> pl.DataFrame:
    if not rows:
        return schema.empty()
    table = pl.DataFrame([asdict(row) for row in rows], infer_schema_length=None)
    shared = [pl.lit(value).alias(name) for name, value in labels.items()]
    return schema.conform(table.with_columns(*shared), source=schema.name)


def _headline(benchmark: Benchmark, scores: list[Score]) -> dict[str, object]:
    """The summary's numbers.

    Raises:
        BenchmarkError: the benchmark returned no row of its headline, or no row of its units.
    """
    headlines = [row for row in scores if row.level == "summary" and row.metric == benchmark.headline_metric]
    units = [row for row in scores if row.level == "perturbation" and row.metric == benchmark.unit_metric]
    if len(headlines) != 1 or not units:
        message = (
            f"{benchmark.name} returned {len(headlines)} summary rows of {benchmark.headline_metric!r}, and "
            f"{len(units)} perturbation rows of {benchmark.unit_metric!r}; expected one and at least one, or "
            "NotApplicable raised"
        )
        raise BenchmarkError(message)
    headline = headlines[0]
    summary: dict[str, object] = {
        "metric": benchmark.headline_metric,
        "value": headline.value,
        "null_mean": headline.null_mean,
        "p_value": headline.p_value,
        "interval_low": headline.interval_low,
        "interval_high": headline.interval_high,
        "n_units": headline.n_units,
    }
    if headline.unit == "pair":  # a small q-value of a pair only says that it is at the very end of the tail
        return summary
    n_significant = sum(row.q_value is not None and row.q_value <= SIGNIFICANCE_LEVEL for row in units)
    return {**summary, "significant_frac": n_significant / len(units)}


def _published(
    benchmark: Benchmark, judged: JudgedMap, parameters: Parameters
) -> tuple[list[PublishedValue], dict[str, str]]:
    """The published statistics, and why there are none: what the literature cannot compute must not stop a score."""
    try:
        return benchmark.published_values(judged, parameters), {}
    except (BenchmarkError, NotApplicable) as reason:
        return [], {"published_missing": str(reason)}


def _n_other_case(judged: JudgedMap) -> dict[str, dict[str, int]]:
    """The number of annotated names, by source, that the map has in another letter case only."""
    columns = ("perturbation_id", "gene_symbol", "compound_id")
    names = {name for column in columns for name in judged.map_table[column].drop_nulls()}
    named = {
        "pairs": ("entity1", "entity2"),
        "sets": ("member",),
        "targets": ("compound_id", "gene_symbol"),
        "gene_arms": ("gene_symbol",),
    }
    found: dict[str, int] = {}
    for kind, of_kind in named.items():
        for source, rows in getattr(judged.annotations, kind).items():
            annotated = {name for column in of_kind for name in rows[column].drop_nulls()}
            n_found = len(in_other_case(annotated, names))
            if n_found:
                found[source] = n_found
    return {"n_other_case": found} if found else {}


def _n_rows(annotations: Annotations) -> dict[str, dict[str, int]]:
    """The number of rows of each annotation source, for people."""
    kinds = {name: getattr(annotations, name) for name in ("pairs", "sets", "targets", "gene_arms")}
    return {f"n_{kind}": {name: rows.height for name, rows in found.items()} for kind, found in kinds.items() if found}
