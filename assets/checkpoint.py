"""`checkpoint`: a recipe trained, and registered as a model version."""

import dagster as dg

from assets.checks import check_of
from assets.materialise import log_progress, materialised, refusals_as_failures
from assets.plate_quality import plate_quality
from resources.partitions import RECIPE
from resources.places import ConfigsResource, LakeResource, RegistryResource
from resources.pods import GPU_POOL, gpu_pod

CHECK = "beats_chance_on_held_out_experiments"


@dg.asset(
    deps=[dg.AssetDep(plate_quality, partition_mapping=dg.AllPartitionMapping())],
    partitions_def=RECIPE,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    pool=GPU_POOL,
    op_tags=gpu_pod(1, 8, 32),
    check_specs=check_of(
        "checkpoint",
        CHECK,
        description="Accuracy on experiments that were not trained on is above chance.",
        partitions=RECIPE,
    ),
)
def checkpoint(
    context: dg.AssetExecutionContext, lake: LakeResource, registry: RegistryResource, configs: ConfigsResource
) -> dg.MaterializeResult:
    """An encoder trained by weak supervision (or a classical one set up) and registered in MLflow."""
    from cellassets.training.recipe import load_recipe
    from cellassets.training.run import train_recipe

    name = context.partition_key
    with refusals_as_failures():
        recipe = load_recipe(configs.path() / "recipes" / f"{name}.yaml")
        record = train_recipe(
            lake.open(),
            registry.open(),
            recipe,
            work_dir=lake.work_folder("training", name),
            progress=log_progress(context),
        )
    accuracy, chance = record.summary["validation_accuracy"], record.summary["chance_accuracy"]
    is_trained = accuracy is not None
    check = dg.AssetCheckResult(
        check_name=CHECK,
        passed=not is_trained or accuracy > chance,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{accuracy:.3f} against {chance:.3f} by chance" if is_trained else "nothing was trained",
    )
    return materialised(lake.open().checkpoint(name), record, checks=[check])
