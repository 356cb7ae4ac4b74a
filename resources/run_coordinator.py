"""Tags every run for the queue, whether a sensor, a backfill or a person started it, and cancels duplicates.

A duplicate is a run for work that a sensor asked for, while another run does the same work (`earlier_run`).

Variants of a search also get one of its slots (`search_slots`).

`dagster.yaml` limits how many runs with the tag `cellassets/pool: gpu` are active. A Dagster pool limits a whole
asset; but only some partitions of `checkpoint` and `site_embeddings` need a GPU, and classical features must not wait
for one. The priority in the queue, the time limit and the number of retries come from the table of pods.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
from dagster import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG

from cellassets.storage.deployment import Deployment
from resources.partitions import keys_of
from resources.pods import Pods, open_pods
from resources.runs import (
    CPU_POOL,
    DUPLICATE_TAG,
    GPU_POOL,
    PARENT_TAG,
    POOL_TAG,
    PROCESSES_TAG,
    RUN_KEY_TAG,
    UNFINISHED,
    orders,
    places_of,
    request_for,
    stages_of,
    work_of,
)
from resources.search_slots import slot_tags
from resources.starting import WatchesStarts

if TYPE_CHECKING:
    from cellassets.training.recipe import Devices

logger = logging.getLogger(__name__)

SENSOR_TAG = "dagster/sensor_name"

GPU_ASSETS = {"checkpoint": ("recipe",), "site_embeddings": ("experiment", "model")}
PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class PooledRunCoordinator(QueuedRunCoordinator):
    """Queues runs, after tagging each with its pool, its priority and its limits."""

    @property
    def dequeue_interval_seconds(self) -> int:
        """How often the daemon looks at the queue, in seconds. The daemon alone asks for this, when it starts."""
        launcher = self._instance.run_launcher
        if isinstance(launcher, WatchesStarts):
            launcher.start_watch()
        return int(super().dequeue_interval_seconds)

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Returns the run after queueing it, or after cancelling it where an earlier run does the same work.

        A run that cannot be queued has failed: Dagster would leave it as it is, and its work would count as under way.
        """
        run = context.dagster_run
        try:
            return self._submit(context, run)
        except Exception as error:
            logger.exception("run %s cannot be queued", run.run_id)
            self._instance.report_run_failed(run, f"the run could not be queued: {error}")
            return self._instance.get_run_by_id(run.run_id) or run

    def _submit(self, context: SubmitRunContext, run: dg.DagsterRun) -> dg.DagsterRun:
        first = earlier_run(self._instance, run)
        if first is not None:
            self._instance.add_run_tags(run.run_id, {DUPLICATE_TAG: first})
            self._instance.report_run_canceled(run, f"run {first} does the same work")
            return self._instance.get_run_by_id(run.run_id) or run
        stages = stages_of(run, self._instance)
        tags = pool_tags(run, stages, os.environ, partial(registered_kind, self._instance))
        has_pod = getattr(self._instance.run_launcher, "starts_pods", False)
        tags |= limit_tags({**run.tags, **tags}, stages, open_pods(os.environ), has_pod=has_pod)
        if "checkpoint" in stages:
            tags |= slot_tags(self._instance, run, Deployment.of(os.environ).configs)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)


def earlier_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Returns the run that makes this one a duplicate; None if it is none.

    Dagster's daemon looks for a run with the key of a sensor's request before it creates one. Two daemons can look at
    the same time; then both runs exist here, and the storage has numbered them: the first one stays.

    Where the daemon was away, it starts a run again whose process died, perhaps after a sensor asked in another run for
    what is still missing there: of runs that share a partition of an asset, the one stays that was created first, while
    it is unfinished. Runs that a person or a backfill started are left alone.
    """
    if RUN_KEY_TAG in run.tags and PARENT_TAG not in run.tags:
        same = {name: run.tags[name] for name in (RUN_KEY_TAG, SENSOR_TAG) if name in run.tags}
        records = instance.get_run_records(dg.RunsFilter(tags=same), ascending=True)
        first = next((one.dagster_run.run_id for one in records if PARENT_TAG not in one.dagster_run.tags), run.run_id)
        if first != run.run_id:
            return first
    if not work_of(run):
        return None
    order_of = orders(instance)
    places = places_of(run, order_of)
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED), ascending=True):
        other = record.dagster_run
        if other.run_id == run.run_id:
            break
        if work_of(other) and places & places_of(other, order_of):
            return other.run_id
    return None


def pool_tags(
    run: dg.DagsterRun,
    stages: Sequence[str],
    environment: Mapping[str, str],
    registered: Callable[[str], str | None] = lambda _: None,
) -> dict[str, str]:
    """Returns the tag of the GPU or CPU pool; empty if the run has one already or makes none of `GPU_ASSETS`.

    A training in several processes per pod also gets their number as a tag: its pod requests that many times as much.

    Args:
        run: the run, with its partition.
        stages: the stages that it makes.
        environment: variables that name the folder of recipes. A recipe names its kind of encoder; an unknown kind
            counts as a network, which waits for a GPU.
        registered: returns the kind of a model without a recipe, by its key.
    """
    assets = set(stages) & set(GPU_ASSETS)
    if POOL_TAG in run.tags or not assets:
        return {}
    partitions: list[str | None] = [run.tags[name] for name in PARTITION_TAGS if name in run.tags]
    keys = [(name, keys_of(GPU_ASSETS[name], partition)) for name in assets for partition in partitions or [None]]
    found = [(name, *_encoder(name, axes, environment, registered)) for name, axes in keys]
    from cellassets.encoders.kinds import needs_gpu

    trained = [devices for name, _, devices in found if name == "checkpoint"]
    on_gpu = any(
        needs_gpu(kind) and not (name == "checkpoint" and devices.accelerator == "cpu") for name, kind, devices in found
    )
    n_processes = max((devices.n_per_node for devices in trained), default=1)
    processes = {PROCESSES_TAG: str(n_processes)} if n_processes > 1 else {}
    return {POOL_TAG: GPU_POOL if on_gpu else CPU_POOL, **processes}


def limit_tags(tags: Mapping[str, str], stages: Sequence[str], pods: Pods, *, has_pod: bool = True) -> dict[str, str]:
    """Returns the priority, the time limit and the number of retries of a run, without those that it has already.

    On one machine runs are limited by `dagster.yaml` alone.

    Args:
        tags: tags of the run, with its pool.
        stages: the stages that it makes; nothing is returned where there are none.
        pods: the table of pods.
        has_pod: whether the run gets a pod; otherwise only its priority is returned.
    """
    if not stages:
        return {}
    request = request_for(stages, tags, pods)
    limits = {PRIORITY_TAG: str(request.queue_priority)}
    if has_pod:
        limits |= {
            MAX_RUNTIME_SECONDS_TAG: str(round(3600 * request.max_hours)),
            MAX_RETRIES_TAG: str(request.retries),
        }
    return {name: value for name, value in limits.items() if name not in tags}


def registered_kind(instance: dg.DagsterInstance, model_key: str) -> str | None:
    """Returns the kind of a model as the sensor of models reported it; None for a model that it has not seen."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("registered_model"), asset_partitions=[model_key])
    records = instance.fetch_materializations(wanted, limit=1).records
    reported = records[0].asset_materialization if records else None
    kind = reported.metadata.get("kind") if reported is not None else None
    return str(kind.value) if kind is not None else None


def _encoder(
    asset: str, keys: Mapping[str, str], environment: Mapping[str, str], registered: Callable[[str], str | None]
) -> "tuple[str, Devices]":
    """Returns kind and devices of the encoder of a partition, from its model's recipe or from the registry's report."""
    from cellassets.configuration import load_yaml
    from cellassets.errors import CellAssetsError
    from cellassets.storage.deployment import Deployment
    from cellassets.training.recipe import Devices, RecipeKind
    from cellassets.training.recipe.family import family_file

    model_key = keys.get("model", "")
    recipe_name = keys.get("recipe", "") if asset == "checkpoint" else model_key.rpartition(".v")[0]
    path = family_file(Deployment.of(environment).configs / "recipes", recipe_name)
    try:
        if path is None:
            return registered(model_key) or "unknown", Devices()
        found = load_yaml(path, RecipeKind)
    except CellAssetsError:
        return registered(model_key) or "unknown", Devices()
    return found.kind, found.devices
