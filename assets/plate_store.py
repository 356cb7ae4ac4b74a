"""`plate_store`: an experiment's images repacked for reading."""

import dagster as dg

from assets.checks import check_of
from assets.materialise import log_progress, materialised, refusals_as_failures
from assets.raw_plates import raw_plates
from resources.partitions import EXPERIMENT
from resources.places import LakeResource, LandingResource
from resources.pods import LANDING_POOL, cpu_pod

CHECK = "holds_every_usable_site"


@dg.asset(
    deps=[raw_plates],
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"zarr"},
    pool=LANDING_POOL,
    op_tags=cpu_pod(4, 4),
    check_specs=check_of(
        "plate_store", CHECK, description="As many sites as the manifest has usable ones.", partitions=EXPERIMENT
    ),
)
def plate_store(
    context: dg.AssetExecutionContext, lake: LakeResource, landing: LandingResource
) -> dg.MaterializeResult:
    """Images of an experiment as one sharded Zarr v3 array a plate, with its wells and per-site statistics."""
    from cellassets.images.pack import pack_experiment

    with refusals_as_failures():
        record = pack_experiment(
            lake.open(), context.partition_key, landing=landing.path(), progress=log_progress(context)
        )
    manifest = lake.open().raw_plates(context.partition_key).record().summary
    n_usable = manifest["n_sites"] - manifest["n_dropped"]
    check = dg.AssetCheckResult(
        check_name=CHECK,
        passed=record.summary["n_sites"] == n_usable,
        metadata={"n_sites": record.summary["n_sites"], "n_usable_in_manifest": n_usable},
    )
    return materialised(lake.open().plate_store(context.partition_key), record, checks=[check])
