"""`perturbation_map`: wells filtered, aligned over batches and aggregated, one row per perturbation."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.inputs import dataset_embeddings
from assets.materialise import materialised, publish
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.perturbation_map import CODE_VERSION, PERTURBATION_MAP
from resources.partitions import DATASET_MODEL
from resources.places import DeploymentResource
from resources.pods import op_tags, step_pool

if TYPE_CHECKING:
    import polars as pl

CHECK, POSITION_CHECK = "alignment_lowers_the_batch_effect", "position_is_not_taken_for_biology"
MAX_ONE_PLACE_FRAC = 0.5


@dg.asset(
    deps=[dataset_embeddings],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"numpy", "parquet"},
    code_version=CODE_VERSION,
    pool=step_pool(PERTURBATION_MAP.pod),
    op_tags=op_tags(PERTURBATION_MAP.pod),
    check_specs=[
        *check_of(
            PERTURBATION_MAP,
            CHECK,
            "Batches are harder to distinguish by control wells after alignment than before.",
        ),
        *check_of(
            PERTURBATION_MAP,
            POSITION_CHECK,
            "Replicates are at several plate positions, or the step `well_position` removed the effect.",
        ),
    ],
)
def perturbation_map(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Map of one dataset by one model: vectors of perturbations, and the aligned wells that they come from."""
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import BATCH_EFFECT

    published = publish(context, PERTURBATION_MAP, deployment)
    steps = read_table(published.path("batch_effect.parquet"), BATCH_EFFECT)
    summary = PerturbationMapSummary.model_validate(published.record.summary)
    return materialised(published, checks=[check_batch_effect(steps), check_positions(summary)])


def check_batch_effect(steps: "pl.DataFrame") -> dg.AssetCheckResult:
    """Returns the check of BATCH_EFFECT rows: the last step must not raise the batch effect above chance."""
    excess = (steps["value"] - steps["chance"]).to_list()
    batch = [value for value, metric in zip(excess, steps["metric"], strict=True) if metric.startswith("batch")]
    before, after = (batch[0], batch[-1]) if batch else (0.0, 0.0)
    description = None if batch else "not measured: fewer than two control wells were held out"
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=after <= before,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={"above_chance_before": before, "above_chance_after": after},
    )


def check_positions(summary: PerturbationMapSummary) -> dg.AssetCheckResult:
    """Returns the check of the plate positions of replicates."""
    return dg.AssetCheckResult(
        check_name=POSITION_CHECK,
        passed=summary.has_position_step or summary.one_place_frac < MAX_ONE_PLACE_FRAC,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"Replicates of {summary.one_place_frac:.0%} of perturbations are all at one plate position. For these, "
            "p-values of replicates count the position as biology: put well_position first in mapping.yaml."
        ),
        metadata={"one_place_frac": summary.one_place_frac},
    )
