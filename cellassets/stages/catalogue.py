"""All stages, in the order of the flow."""

from functools import cache

from cellassets.errors import ConfigError
from cellassets.stages.active_perturbations import ACTIVE_PERTURBATIONS
from cellassets.stages.benchmark import benchmark_stages
from cellassets.stages.checkpoint import CHECKPOINT
from cellassets.stages.leaderboard import LEADERBOARD
from cellassets.stages.map_clusters import MAP_CLUSTERS
from cellassets.stages.model_report import MODEL_REPORT
from cellassets.stages.perturbation_map import PERTURBATION_MAP
from cellassets.stages.plate_quality import PLATE_QUALITY
from cellassets.stages.plate_store import PLATE_STORE
from cellassets.stages.production_model import PRODUCTION_MODEL
from cellassets.stages.raw_plates import RAW_PLATES
from cellassets.stages.search import SEARCH
from cellassets.stages.site_embeddings import SITE_EMBEDDINGS
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Stage
from cellassets.storage.deployment import Deployment


@cache
def stages() -> dict[str, Stage]:
    """Returns every stage by its name, in the order of the flow."""
    ordered = (
        RAW_PLATES,
        PLATE_STORE,
        PLATE_QUALITY,
        CHECKPOINT,
        SEARCH,
        SITE_EMBEDDINGS,
        PERTURBATION_MAP,
        *benchmark_stages(),
        MAP_CLUSTERS,
        ACTIVE_PERTURBATIONS,
        LEADERBOARD,
        MODEL_REPORT,
        PRODUCTION_MODEL,
    )
    return {stage.name: stage for stage in ordered}


def open_snapshot(deployment: Deployment) -> Snapshot:
    """Returns a snapshot of a deployment, from which plans are made."""
    return Snapshot(deployment, stages())


def stage_named(name: str) -> Stage:
    """Returns a stage.

    Raises:
        ConfigError: there is no stage with this name.
    """
    if name not in stages():
        message = f"no stage {name!r}; there are {', '.join(stages())}"
        raise ConfigError(message)
    return stages()[name]
