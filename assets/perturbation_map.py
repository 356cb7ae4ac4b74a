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

if TYPE_CHECKING:
    import polars as pl

CHECK, POSITION_CHECK = "alignment_lowers_the_batch_effect", "position_is_not_taken_for_biology"
NEIGHBOUR_CHECK = "replicates_are_not_neighbours"
MAX_ONE_PLACE_FRAC = 0.5
MIN_DISTANCE_FRAC, MAX_P_VALUE = 0.75, 0.01  # replicates this near to each other, and not by chance, are a warning


@dg.asset(
    deps=[dataset_embeddings],
    partitions_def=DATASET_MODEL,
    group_name="maps",
    owners=["team:computational-biology"],
    kinds={"numpy", "parquet"},
    code_version=CODE_VERSION,
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
        *check_of(
            PERTURBATION_MAP,
            NEIGHBOUR_CHECK,
            "Replicates on one plate are as far from each other as other treated wells of that plate.",
        ),
    ],
)
def perturbation_map(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Map of one dataset by one model: vectors of perturbations, and the aligned wells that they come from."""
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import BATCH_EFFECT

    published = publish(context, PERTURBATION_MAP, deployment)
    steps = read_table(published.file("batch_effect.parquet"), BATCH_EFFECT)
    summary = PerturbationMapSummary.model_validate(published.record.summary)
    return materialised(
        published, checks=[check_batch_effect(steps), check_positions(summary), check_neighbours(summary)]
    )


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
    """Returns the check of the plate positions of replicates on different plates."""
    are_near = _are_near(summary.other_plate_distance_frac, summary.other_plate_distance_p_value)
    return dg.AssetCheckResult(
        check_name=POSITION_CHECK,
        passed=summary.has_position_step or (summary.one_place_frac < MAX_ONE_PLACE_FRAC and not are_near),
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"Replicates of {summary.one_place_frac:.0%} of perturbations are all at one plate position, and positions "
            f"of replicates on different plates are {_as_far(summary.other_plate_distance_frac)}. For replicates at "
            "one position, p-values count the position as biology: put well_position first in mapping.yaml."
        ),
        metadata={"one_place_frac": summary.one_place_frac, **_metadata("other_plate", summary)},
    )


def check_neighbours(summary: PerturbationMapSummary) -> dg.AssetCheckResult:
    """Returns the check of the distance between replicates on one plate; `well_position` does not help there."""
    return dg.AssetCheckResult(
        check_name=NEIGHBOUR_CHECK,
        passed=not _are_near(summary.same_plate_distance_frac, summary.same_plate_distance_p_value),
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"Replicates on one plate are {_as_far(summary.same_plate_distance_frac)}. If they are neighbours, "
            "p-values of replicates count the place as biology: set is_one_well_per_plate: true in the settings of "
            "consistency, magnitude, phenotypic activity and held-out batches, and randomise the next layout."
        ),
        metadata=_metadata("same_plate", summary),
    )


def _are_near(frac: float | None, p_value: float | None) -> bool:
    return frac is not None and p_value is not None and frac < MIN_DISTANCE_FRAC and p_value <= MAX_P_VALUE


def _as_far(frac: float | None) -> str:
    return "not measured" if frac is None else f"{frac:.0%} as far from each other as in a random layout"


def _metadata(kind: str, summary: PerturbationMapSummary) -> dict[str, float]:
    names = (f"{kind}_distance_frac", f"{kind}_distance_p_value")
    return {name: value for name in names if (value := getattr(summary, name)) is not None}
