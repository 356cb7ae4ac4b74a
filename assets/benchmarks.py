"""`benchmark/<name>`: one asset per registered benchmark, all made the same way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.inputs import SAME_MODEL, benchmark_settings
from assets.materialise import materialised, publish
from assets.missing_map import checks_without_map
from assets.perturbation_map import perturbation_map
from cellassets.benchmarks.definition import Benchmark
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.stages.benchmark import name_of
from cellassets.stages.catalogue import stages
from cellassets.stages.stage import Stage
from resources.partitions import DATASET_MODEL
from resources.places import DeploymentResource

if TYPE_CHECKING:
    import polars as pl

    from cellassets.storage.lake import Published

CHECK = "headline_rests_on_enough_units"
BELOW_CHANCE = "nuisance_is_not_over_corrected"
MIN_UNITS = 10


def build_benchmark_assets() -> list[dg.AssetsDefinition]:
    """Returns an asset for every registered benchmark."""
    return [_build(stage) for stage in stages().values() if stage.name.startswith("benchmark/")]


def _build(stage: Stage) -> dg.AssetsDefinition:
    name = name_of(stage.name)
    benchmark = BENCHMARKS[name]
    key = dg.AssetKey(stage.name.split("/"))
    # a benchmark that compares maps of cell types depends on all maps of its model
    maps = dg.AssetDep(perturbation_map, partition_mapping=SAME_MODEL if "other_maps" in benchmark.uses else None)
    settings = dg.AssetDep(benchmark_settings, partition_mapping=dg.SpecificPartitionsPartitionMapping([name]))

    @dg.asset(
        key=key,
        deps=[maps, settings],
        partitions_def=DATASET_MODEL,
        group_name="benchmarks",
        owners=["team:computational-biology"],
        kinds={"scipy", "parquet"},
        code_version=benchmark.version,
        output_required=False,  # a backfill over all partitions includes datasets of which a model has no map
        description=f"{benchmark.title}. {benchmark.description}",
        check_specs=_checks_of(stage, benchmark),
    )
    def score(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        names = [CHECK] if benchmark.over_correction is None else [CHECK, BELOW_CHANCE]
        if failed := checks_without_map(context, stage, deployment, names):
            yield from failed
            return
        published = publish(context, stage, deployment)
        every_part = read_scores(published)
        scores = first_part(every_part)
        does_not_apply = published.record.summary.get("does_not_apply")
        check = check_headline(scores, benchmark.headline_metric, does_not_apply=does_not_apply)
        checks = [check, *([] if benchmark.over_correction is None else [check_over_correction(benchmark, scores)])]
        yield materialised(published, metadata=_pictures(published, every_part), checks=checks)

    return score


def _checks_of(stage: Stage, benchmark: Benchmark) -> list[dg.AssetCheckSpec]:
    enough = f"The headline is computed over at least {MIN_UNITS} units and its null distribution is not constant."
    below = (
        "The nuisance that the benchmark measures is not below what chance gives: the alignment did not over-correct."
    )
    specs = check_of(stage, CHECK, enough)
    return specs if benchmark.over_correction is None else [*specs, *check_of(stage, BELOW_CHANCE, below)]


def check_over_correction(benchmark: Benchmark, scores: "pl.DataFrame") -> dg.AssetCheckResult:
    """Returns the check of a nuisance; it fails if its headline is below its null distribution.

    Args:
        benchmark: a benchmark that declares an over-correction.
        scores: its SCORES rows of one model.
    """
    from cellassets.benchmarks.over_correction import over_corrections

    found = over_corrections(benchmark, scores)
    return dg.AssetCheckResult(
        check_name=BELOW_CHANCE,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(one.describe() for one in found) or None,
        metadata={"two_sided_p_value": min(one.p_value for one in found)} if found else {},
    )


def read_scores(published: "Published") -> "pl.DataFrame":
    """Returns the published scores."""
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import SCORES

    return read_table(published.file("scores.parquet"), SCORES)


def first_part(scores: "pl.DataFrame") -> "pl.DataFrame":
    """Returns the rows of the part of the dataset that comes first: unseen wells where the model has any."""
    return scores if scores.is_empty() else scores.filter(scores["part_id"] == scores["part_id"][0])


def check_headline(scores: "pl.DataFrame", headline: str, *, does_not_apply: str | None) -> dg.AssetCheckResult:
    """Returns the check of a benchmark's headline.

    It passes where the benchmark does not apply, and fails where the benchmark applies and the headline is missing.

    Args:
        scores: SCORES rows of one benchmark.
        headline: metric of the headline.
        does_not_apply: why there are no scores; None where there should be some.
    """
    summary = scores.filter(scores["level"] == "summary")
    is_thin = (summary["n_units"] < MIN_UNITS) | (summary["null_low"] >= summary["null_high"])
    thin = summary.filter(is_thin)["metric"].to_list()
    is_scored = headline in summary["metric"].to_list()
    description = None if is_scored else f"no row of {headline}"
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=does_not_apply is not None or (is_scored and headline not in thin),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"does not apply: {does_not_apply}" if does_not_apply else description,
        metadata={"n_rows": scores.height, "thin": ", ".join(thin)},
    )


def _pictures(published: "Published", scores: "pl.DataFrame") -> dict[str, dg.MarkdownMetadataValue]:
    """Returns the summary and the published statistics as tables, and a plot of every unit's null distribution.

    The summary is that of all parts of the dataset; statistics and plot are of the first one.
    """
    from cellassets.reporting.unit_picture import data_uri, unit_chart
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import PUBLISHED

    if scores.is_empty():
        return {}
    first = first_part(scores)
    svg = unit_chart(first)
    plot = {} if svg is None else {"plot": dg.MetadataValue.md(f"![units and their nulls]({data_uri(svg)})")}
    statistics = read_table(published.file("published.parquet"), PUBLISHED)
    statistics = statistics.filter(statistics["protocol_fingerprint"] == first["protocol_fingerprint"][0])
    beside = {} if statistics.is_empty() else {"published_statistics": _published(statistics)}
    return {"scores": _table(scores), **beside, **plot}


def _table(scores: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    from cellassets.judging.leaderboard import where

    summary = scores.filter(scores["level"] == "summary")
    lines = ["| wells | metric | value | 95% interval | null | effect size | z | p | n |", f"|{' --- |' * 9}"]
    for row in summary.iter_rows(named=True):
        low, high = row["interval_low"], row["interval_high"]
        interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        null = f"{row['null_mean']:.3f} ({row['null_low']:.3f} to {row['null_high']:.3f})"
        part = "" if row["n_null_wells"] is None else f" (null and p: {row['n_null_wells']} wells)"
        count = f"{row['n_units']} {row['unit']}s{part}"
        effect, z_score = ("" if row[name] is None else f"{row[name]:.2f}" for name in ("effect_size", "z_score"))
        numbers = f"{row['value']:.3f} | {interval} | {null} | {effect} | {z_score} | {row['p_value']:.2g} | {count}"
        lines.append(f"| {where(row)} | {row['metric']} | {numbers} |")
    return dg.MetadataValue.md("\n".join(lines))


def _published(statistics: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    lines = ["| statistic as published | value | p | n | source |", f"|{' --- |' * 5}"]
    for row in statistics.iter_rows(named=True):
        p_value = "" if row["p_value"] is None else f"{row['p_value']:.2g}"
        lines.append(f"| {row['statistic']} | {row['value']:.3f} | {p_value} | {row['n_units']} | {row['source']} |")
    return dg.MetadataValue.md("\n".join(lines))
