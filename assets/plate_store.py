"""`plate_store`: an experiment's images repacked for reading."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, publish
from assets.raw_plates import raw_plates
from cellassets.stages.plate_store import CODE_VERSION, PLATE_STORE
from resources.partitions import EXPERIMENT
from resources.places import DeploymentResource
from resources.pods import op_tags, step_pool

if TYPE_CHECKING:
    from cellassets.storage.deployment import Deployment
    from cellassets.storage.lake import Published

CHECK = "sampled_sites_equal_the_landed_images"
N_SAMPLED = 16


@dg.asset(
    deps=[raw_plates],
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"zarr"},
    code_version=CODE_VERSION,
    pool=step_pool(PLATE_STORE.pod),
    op_tags=op_tags(PLATE_STORE.pod),
    check_specs=check_of(
        PLATE_STORE, CHECK, f"{N_SAMPLED} random sites have the same pixels in the store as in the landing zone."
    ),
)
def plate_store(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Images of an experiment as one sharded Zarr v3 array per plate, with its wells and statistics of each site."""
    published = publish(context, PLATE_STORE, deployment)
    return materialised(published, checks=[check_pixels(deployment.open(), published)])


def check_pixels(deployment: "Deployment", published: "Published") -> dg.AssetCheckResult:
    """Returns the check of a sample of stored sites; it fails if one differs from its image files."""
    from cellassets.images.comparison import differing_sites
    from cellassets.images.reader import ExperimentStore
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import IMAGES

    (experiment_id,) = published.record.keys
    manifest = deployment.lake.current("raw_plates", experiment_id)
    store = ExperimentStore.open(published.folder, published.record.files, experiment_id)
    images = read_table(manifest.path("images.parquet"), IMAGES)
    differing = differing_sites(
        store, images, deployment.landing / experiment_id, n_sites=N_SAMPLED, seed=published.record.generation
    )
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not differing,
        metadata={"n_compared": min(N_SAMPLED, store.n_sites), "differing": ", ".join(differing)},
    )
