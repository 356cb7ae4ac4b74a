"""`plate_store`: an experiment's images repacked for reading."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, publish
from assets.raw_plates import raw_plates
from cellassets.errors import ArtifactMissing, CellAssetsError
from cellassets.stages.plate_store import CODE_VERSION, PLATE_STORE
from resources.partitions import EXPERIMENT
from resources.places import DeploymentResource

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
    pool="landing_reads",
    check_specs=check_of(
        PLATE_STORE, CHECK, f"{N_SAMPLED} random sites have the same pixels in the store as in the landing zone."
    ),
)
def plate_store(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Images of an experiment as one sharded Zarr v3 array per plate, with its wells and statistics of each site."""
    published = publish(context, PLATE_STORE, deployment)
    return materialised(published, checks=[check_pixels(deployment.open(), published)])


def check_pixels(deployment: "Deployment", published: "Published") -> dg.AssetCheckResult:
    """Returns the check of a sample of stored sites.

    It fails where a site differs from its image files, or where store, manifest or image files cannot be read.
    """
    try:
        n_compared, differing = _compare(deployment, published)
    except (CellAssetsError, FileNotFoundError) as error:
        return dg.AssetCheckResult(check_name=CHECK, passed=False, description=f"not compared: {error}")
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not differing,
        metadata={"n_compared": n_compared, "differing": ", ".join(differing)},
    )


def _compare(deployment: "Deployment", published: "Published") -> tuple[int, list[str]]:
    """Number of compared sites, and those that differ from the images of the manifest that the store was made from."""
    from cellassets.images.comparison import differing_sites
    from cellassets.images.reader import ExperimentStore
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import IMAGES

    (experiment_id,) = published.record.keys
    manifest = _manifest_of(deployment, published)
    store = ExperimentStore.open(published.folder, published.record.files, experiment_id)
    images = read_table(manifest.file("images.parquet"), IMAGES)
    differing = differing_sites(
        store, images, deployment.landing / experiment_id, n_sites=N_SAMPLED, seed=published.record.generation
    )
    return min(N_SAMPLED, store.n_sites), differing


def _manifest_of(deployment: "Deployment", published: "Published") -> "Published":
    """The manifest that a store was made from; a newer one may be published by now."""
    from cellassets.storage.lake import Published

    artifact = deployment.lake.artifact("raw_plates", *published.record.keys)
    for generation in reversed(artifact.generations()):
        record = artifact.record_of(generation)
        if record.fingerprint == published.record.inputs["raw_plates"]:
            return Published(artifact, record)
    message = f"{artifact}: the manifest that the store was made from is gone; materialise plate_store again"
    raise ArtifactMissing(message)
