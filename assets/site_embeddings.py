"""`site_embeddings`: the hidden layer of one model for every site of an experiment."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.inputs import registered_model
from assets.materialise import publish_all
from assets.plate_store import plate_store
from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN
from cellassets.stages.site_embeddings import CODE_VERSION, SITE_EMBEDDINGS
from resources.containers import PipesContainers
from resources.partitions import EXPERIMENT_MODEL
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

CHECK = "sites_have_vectors_of_their_own"
MAX_REPEATED_FRAC = 0.05
SAME_WITHIN = 1e-5  # of a feature's largest value; devices and batch sizes change vectors by less


@dg.asset(
    deps=[
        dg.AssetDep(plate_store, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("experiment")),
        dg.AssetDep(registered_model, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("model")),
    ],
    partitions_def=EXPERIMENT_MODEL,
    backfill_policy=dg.BackfillPolicy.multi_run(MAX_PARTITIONS_PER_RUN),
    group_name="embeddings",
    owners=["team:machine-learning"],
    kinds={"pytorch", "parquet"},
    code_version=CODE_VERSION,
    check_specs=check_of(
        SITE_EMBEDDINGS,
        CHECK,
        f"At most {MAX_REPEATED_FRAC:.0%} of sites share their vector with a site of another well of the experiment. A "
        "collapsed encoder gives many sites the same vector.",
    ),
)
def site_embeddings(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Embedding table of one experiment by one model: Parquet, one row per site."""
    containers = PipesContainers(context, deployment.open())
    return publish_all(
        context,
        SITE_EMBEDDINGS,
        deployment,
        check=check_vectors,
        metadata=lambda _: containers.take_reported(),
        containers=containers,
    )


def check_vectors(published: "Published") -> dg.AssetCheckResult:
    """Returns the check of repeated vectors. Sites of one well may share theirs, as with profiles of wells."""
    import numpy as np
    import polars as pl

    from cellassets.tables.parquet import read_tables, vectors
    from cellassets.tables.schemas import SITE_EMBEDDINGS as SCHEMA

    table = read_tables([published.file(name) for name in published.names], SCHEMA)
    values = vectors(table)
    steps = np.maximum(SAME_WITHIN * np.abs(values).max(axis=0, initial=0.0), np.finfo(np.float32).tiny)
    vector_of_site = np.unique(np.round(values / steps), axis=0, return_inverse=True)[1].reshape(-1)
    n_wells = pl.struct("plate_id", "well_id").n_unique().over("vector")
    is_repeated = table.select("plate_id", "well_id", vector=pl.Series(vector_of_site)).select(n_wells > 1).to_series()
    repeated_frac = int(is_repeated.sum()) / max(table.height, 1)
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=repeated_frac <= MAX_REPEATED_FRAC,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{repeated_frac:.0%} of {table.height} sites share their vector with a site of another well",
        metadata={"repeated_frac": repeated_frac},
    )
