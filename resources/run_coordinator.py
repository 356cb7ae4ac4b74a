"""Tags every run for the queue, whether a sensor, a backfill or a person started it.

`dagster.yaml` limits how many runs with the tag `cellassets/pool: gpu` are active. A Dagster pool limits a whole
asset; but only some partitions of `checkpoint` and `site_embeddings` need a GPU, and classical features must not wait
for one. The priority in the queue, the time limit and the number of retries come from the table of pods.
"""

import os
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG

from resources.partitions import keys_of
from resources.pods import Pods, largest, open_pods
from resources.runs import CPU_POOL, GPU_POOL, POOL_TAG, stages_of

GPU_ASSETS = {"checkpoint": ("recipe",), "site_embeddings": ("experiment", "model")}
PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class PooledRunCoordinator(QueuedRunCoordinator):
    """Queues runs, after tagging each with its pool, its priority and its limits."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Returns the run after queueing it."""
        run = context.dagster_run
        stages = stages_of(run, self._instance)
        tags = pool_tags(run, stages, os.environ)
        tags |= limit_tags({**run.tags, **tags}, stages, open_pods(os.environ))
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)


def pool_tags(run: dg.DagsterRun, stages: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the tag of the GPU or CPU pool; empty if the run has one already or makes none of `GPU_ASSETS`.

    Args:
        run: the run, with its partition.
        stages: the stages that it makes.
        environment: variables that name the folder of recipes. A recipe names its kind of encoder; an unknown kind
            counts as a network, which waits for a GPU.
    """
    assets = set(stages) & set(GPU_ASSETS)
    if POOL_TAG in run.tags or not assets:
        return {}
    partitions: list[str | None] = [run.tags[name] for name in PARTITION_TAGS if name in run.tags]
    kinds = {
        _kind(name, keys_of(GPU_ASSETS[name], partition), environment)
        for name in assets
        for partition in partitions or [None]
    }
    from cellassets.encoders.kinds import needs_gpu

    return {POOL_TAG: GPU_POOL if any(needs_gpu(kind) for kind in kinds) else CPU_POOL}


def limit_tags(tags: Mapping[str, str], stages: Sequence[str], pods: Pods) -> dict[str, str]:
    """Returns the priority, the time limit and the number of retries of a run, without those that it has already.

    Args:
        tags: tags of the run, with its pool.
        stages: the stages that it makes; nothing is returned where there are none.
        pods: the table of pods.
    """
    if not stages:
        return {}
    request = largest([pods.request(stage, needs_gpu=tags.get(POOL_TAG) != CPU_POOL) for stage in stages])
    limits = {
        PRIORITY_TAG: str(request.queue_priority),
        MAX_RUNTIME_SECONDS_TAG: str(round(3600 * request.max_hours)),
        MAX_RETRIES_TAG: str(request.retries),
    }
    return {name: value for name, value in limits.items() if name not in tags}


def _kind(asset: str, keys: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Returns the kind of encoder of a partition, from the recipe of its model."""
    from cellassets.configuration import load_yaml
    from cellassets.errors import CellAssetsError
    from cellassets.storage.deployment import Deployment
    from cellassets.training.recipe import RecipeKind

    recipe_name = keys.get("recipe", "") if asset == "checkpoint" else keys.get("model", "").rpartition(".v")[0]
    path = Deployment.of(environment).configs / "recipes" / f"{recipe_name}.yaml"
    try:
        return load_yaml(path, RecipeKind).kind
    except CellAssetsError:
        return "unknown"
