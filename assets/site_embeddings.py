"""`site_embeddings`: every site of an experiment through one model's hidden layer."""

import dagster as dg

from assets.checkpoint import checkpoint
from assets.checks import check_of
from assets.materialise import describe, log_progress
from assets.plate_store import plate_store
from cellassets.errors import CellAssetsError
from cellassets.fingerprint import fingerprint
from resources.partitions import EXPERIMENT_MODEL
from resources.places import LakeResource, RegistryResource
from resources.pods import GPU_POOL, gpu_pod

CHECK = "one_row_a_stored_site"
MAX_PARTITIONS_PER_RUN = 20


@dg.asset(
    deps=[
        dg.AssetDep(plate_store, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("experiment")),
        dg.AssetDep(checkpoint, partition_mapping=dg.AllPartitionMapping()),
    ],
    partitions_def=EXPERIMENT_MODEL,
    backfill_policy=dg.BackfillPolicy.multi_run(MAX_PARTITIONS_PER_RUN),
    group_name="embeddings",
    owners=["team:machine-learning"],
    kinds={"pytorch", "parquet"},
    pool=GPU_POOL,
    op_tags=gpu_pod(1, 8, 32),
    check_specs=check_of(
        "site_embeddings", CHECK, description="As many rows as the store has sites.", partitions=EXPERIMENT_MODEL
    ),
)
def site_embeddings(
    context: dg.AssetExecutionContext, lake: LakeResource, registry: RegistryResource
) -> dg.MaterializeResult:
    """Embedding table of one experiment by one model: Parquet, a row a site."""
    from cellassets.encoders.run import embed_experiment

    fingerprints, counts, refused = [], {}, {}
    for key in context.partition_keys:
        experiment_id, model_key = axes(key)
        try:
            record = embed_experiment(
                lake.open(), registry.open(), experiment_id, model_key=model_key, progress=log_progress(context)
            )
        except CellAssetsError as error:  # the run's other partitions go on
            refused[key] = error
            continue
        artifact = lake.open().site_embeddings(experiment_id, model_key)
        context.add_asset_metadata(describe(artifact, record), partition_key=key)
        n_stored = lake.open().plate_store(experiment_id).record().summary["n_sites"]
        counts[key] = (record.summary["n_sites"], n_stored)
        fingerprints.append(record.fingerprint)
    if refused:
        message = "; ".join(f"{key}: {error}" for key, error in refused.items())
        raise dg.Failure(f"{len(refused)} of {len(context.partition_keys)} refused: {message}", allow_retries=False)
    wrong = {key: f"{found} rows, {stored} sites" for key, (found, stored) in counts.items() if found != stored}
    check = dg.AssetCheckResult(check_name=CHECK, passed=not wrong, metadata=wrong)
    version = fingerprints[0] if len(fingerprints) == 1 else fingerprint({"of": fingerprints})
    return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=[check])


def axes(key: str) -> tuple[str, str]:
    """Returns the experiment and the model of a partition key."""
    by_axis = EXPERIMENT_MODEL.get_partition_key_from_str(key).keys_by_dimension
    return by_axis["experiment"], by_axis["model"]
