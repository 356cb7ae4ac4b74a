"""`benchmark/<name>`: one asset a registered benchmark, all made the same way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.lookup import dataset_and_model, dataset_named
from assets.materialise import materialised, refusals_as_failures
from assets.perturbation_map import perturbation_map
from cellassets.benchmarks.registry import BENCHMARKS
from resources.partitions import DATASET_MODEL
from resources.places import ConfigsResource, LakeResource
from resources.pods import cpu_pod

if TYPE_CHECKING:
    import polars as pl

    from cellassets.storage.artifact import Artifact, Record

CHECK = "scores_have_a_null"


def build_benchmark_assets() -> list[dg.AssetsDefinition]:
    """Returns an asset for every registered benchmark."""
    return [_build(name) for name in sorted(BENCHMARKS)]


def _build(name: str) -> dg.AssetsDefinition:
    benchmark = BENCHMARKS[name]
    key = dg.AssetKey(["benchmark", name])

    @dg.asset(
        key=key,
        deps=[perturbation_map],
        partitions_def=DATASET_MODEL,
        group_name="benchmarks",
        owners=["team:computational-biology"],
        kinds={"scipy", "parquet"},
        code_version=benchmark.code_version,
        output_required=False,  # a backfill over all partitions meets data sets that a model has no map of
        description=f"{benchmark.title}. {benchmark.description}",
        op_tags=cpu_pod(2, 4),
        check_specs=check_of(
            key,
            CHECK,
            description="Every score is finite, has units to stand on and a p-value in (0, 1]; or none applies.",
            partitions=DATASET_MODEL,
        ),
    )
    def score(
        context: dg.AssetExecutionContext, lake: LakeResource, configs: ConfigsResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from cellassets.benchmarks.run import score_map
        from cellassets.reconcile.policy import load_benchmark_parameters

        dataset_id, model_key = dataset_and_model(context.partition_key)
        if lake.open().perturbation_map(dataset_id, model_key).find_record() is None:
            yield _no_map(key, f"{model_key} has no map of {dataset_id}: nothing is scored")
            return
        with refusals_as_failures():
            record = score_map(
                lake.open(),
                name,
                dataset_named(lake.open(), configs.path(), dataset_id),
                model_key=model_key,
                parameters=load_benchmark_parameters(configs.path(), name),
            )
        artifact = lake.open().scores(name, dataset_id, model_key)
        scores = read_scores(artifact, record)
        yield materialised(artifact, record, metadata=_pictures(scores), checks=[_check(scores, record)])

    return score


def _no_map(key: dg.AssetKey, reason: str) -> dg.AssetCheckResult:
    """The partition stays as it is, missing; the check says why."""
    return dg.AssetCheckResult(
        asset_key=key, check_name=CHECK, passed=False, severity=dg.AssetCheckSeverity.WARN, description=reason
    )


def read_scores(artifact: "Artifact", record: "Record") -> "pl.DataFrame":
    """Returns the published scores."""
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import SCORES

    return read_table(artifact.path("scores.parquet", record), SCORES)


def _check(scores: "pl.DataFrame", record: "Record") -> dg.AssetCheckResult:
    import polars as pl

    is_sound = (
        pl.col("value").is_finite()
        & pl.col("null_mean").is_finite()
        & (pl.col("n_units") > 0)
        & pl.col("p_value").is_between(0, 1, closed="right")
    )
    unsound = scores.filter(~is_sound)
    reason = record.summary.get("does_not_apply")
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=unsound.is_empty() and (scores.height > 0 or reason is not None),
        description=f"does not apply: {reason}" if reason else None,
        metadata={"n_rows": scores.height, "n_unsound": unsound.height},
    )


def _pictures(scores: "pl.DataFrame") -> dict[str, dg.MarkdownMetadataValue]:
    """The summary as a table, and every unit's value against its own null."""
    from cellassets.reporting.unit_picture import data_uri, unit_chart

    if scores.is_empty():
        return {}
    svg = unit_chart(scores)
    plot = {} if svg is None else {"plot": dg.MetadataValue.md(f"![units against their nulls]({data_uri(svg)})")}
    return {"scores": _table(scores), **plot}


def _table(scores: "pl.DataFrame") -> dg.MarkdownMetadataValue:
    summary = scores.filter(scores["level"] == "summary")
    lines = ["| metric | value | 95% interval | null | effect | p | n |", f"|{' --- |' * 7}"]
    for row in summary.iter_rows(named=True):
        low, high = row["interval_low"], row["interval_high"]
        interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        null = f"{row['null_mean']:.3f} ({row['null_low']:.3f} to {row['null_high']:.3f})"
        count = f"{row['n_units']} {row['unit']}s"
        effect = "" if row["effect_size"] is None else f"{row['effect_size']:.1f} sd"
        numbers = f"{row['value']:.3f} | {interval} | {null} | {effect} | {row['p_value']:.2g} | {count}"
        lines.append(f"| {row['metric']} | {numbers} |")
    return dg.MetadataValue.md("\n".join(lines))
