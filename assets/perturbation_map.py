"""`perturbation_map`: wells filtered, aligned over batches and aggregated, a row a perturbation."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.lookup import dataset_and_model, dataset_named
from assets.materialise import log_progress, materialised, refusals_as_failures
from assets.plate_quality import plate_quality
from assets.site_embeddings import site_embeddings
from resources.partitions import DATASET_MODEL
from resources.places import ConfigsResource, LakeResource
from resources.pods import cpu_pod

if TYPE_CHECKING:
    import polars as pl

    from cellassets.storage.artifact import Record

CHECK, POSITION_CHECK = "alignment_lowers_the_batch_effect", "position_is_not_taken_for_biology"

SAME_MODEL = dg.MultiPartitionMapping({"model": dg.DimensionPartitionMapping("model", dg.IdentityPartitionMapping())})


@dg.asset(
    deps=[
        dg.AssetDep(site_embeddings, partition_mapping=SAME_MODEL),
        dg.AssetDep(plate_quality, partition_mapping=dg.AllPartitionMapping()),
    ],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"numpy", "parquet"},
    op_tags=cpu_pod(2, 8),
    check_specs=[
        *check_of(
            "perturbation_map",
            CHECK,
            description="Batches are harder to tell apart by control wells after alignment than before.",
            partitions=DATASET_MODEL,
        ),
        *check_of(
            "perturbation_map",
            POSITION_CHECK,
            description="Replicates are in several places, or the step `well_position` took out what places do.",
            partitions=DATASET_MODEL,
        ),
    ],
)
def perturbation_map(
    context: dg.AssetExecutionContext, lake: LakeResource, configs: ConfigsResource
) -> dg.MaterializeResult:
    """Map of one data set by one model: vectors of perturbations, and the aligned wells that they come from."""
    from cellassets.mapping.build import build_map
    from cellassets.reconcile.policy import load_map_parameters
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import BATCH_EFFECT

    dataset_id, model_key = dataset_and_model(context.partition_key)
    with refusals_as_failures():
        record = build_map(
            lake.open(),
            dataset_named(lake.open(), configs.path(), dataset_id),
            model_key=model_key,
            parameters=load_map_parameters(configs.path()),
            progress=log_progress(context),
        )
    artifact = lake.open().perturbation_map(dataset_id, model_key)
    steps = read_table(artifact.path("batch_effect.parquet", record), BATCH_EFFECT)
    return materialised(artifact, record, checks=[_check(steps), _position_check(record)])


def _check(steps: "pl.DataFrame") -> dg.AssetCheckResult:
    excess = (steps["value"] - steps["chance"]).to_list()
    batch = [value for value, metric in zip(excess, steps["metric"], strict=True) if metric.startswith("batch")]
    before, after = (batch[0], batch[-1]) if batch else (0.0, 0.0)
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=after <= before,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"above_chance_before": before, "above_chance_after": after},
    )


def _position_check(record: "Record") -> dg.AssetCheckResult:
    in_one_place = record.summary["one_place_frac"]
    is_regressed = any(step["kind"] == "well_position" for step in record.inputs["parameters"]["steps"])
    return dg.AssetCheckResult(
        check_name=POSITION_CHECK,
        passed=is_regressed or in_one_place < 0.5,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"Replicates of {in_one_place:.0%} of perturbations sit at one position. Where they do, p-values of "
            "replicates count what positions do as biology: put the step well_position first in mapping.yaml."
        ),
        metadata={"one_place_frac": in_one_place},
    )
