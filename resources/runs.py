"""What a run is about, read from Dagster's record of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import dagster as dg

from resources.partitions import RANGE_END, RANGE_START
from resources.pods import PodRequest, Pods, largest, open_pods

RUN_KEY_TAG, PARENT_TAG = "dagster/run_key", "dagster/parent_run_id"
DUPLICATE_TAG = "cellassets/duplicate_of"  # of a run that was cancelled since an earlier one does the same work
POOL_TAG = "cellassets/pool"
POD_TAG = "cellassets/pod"  # what the pod of a run got, as JSON
OUT_OF_MEMORY_TAG = "cellassets/out_of_memory"  # of a run that had the most memory it may get
MEMORY_TAG = "cellassets/memory_gib"  # of a run whose parent was killed for its memory
PROCESSES_TAG = "cellassets/processes_per_pod"  # of a training in several processes, each with a GPU
GPU_POOL, CPU_POOL = "gpu", "cpu"
WORK_TAG = "cellassets/work"  # names the work that a sensor asked for; several names with commas between them

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def work_of(run: dg.DagsterRun) -> list[str]:
    """Returns the names of the work that a sensor asked a run to do; empty for a run that no sensor asked for."""
    return run.tags[WORK_TAG].split(",") if WORK_TAG in run.tags else []


def stages_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> list[str]:
    """Returns the names of the stages that a run makes; empty for a job without assets.

    A run that a person or a backfill starts names its assets. A run of a whole job does not; its assets are then the
    nodes of the job.
    """
    if run.asset_selection:
        return sorted(key.to_user_string() for key in run.asset_selection)
    if run.job_snapshot_id is None or not instance.has_job_snapshot(run.job_snapshot_id):
        return []
    nodes = instance.get_job_snapshot(run.job_snapshot_id).node_names
    return sorted(name.replace("__", "/") for name in nodes)


def orders(instance: dg.DagsterInstance) -> Callable[[str], list[str]]:
    """Returns the function that gives the keys of an axis in Dagster's order; it reads each axis once.

    A backfill queues a thousand ranges.
    """
    return cache(lambda axis: list(instance.get_dynamic_partitions(axis)))


def partitions_of_run(run: dg.DagsterRun, order_of: Callable[[str], list[str]]) -> list[str | None]:
    """Returns the partition keys of a run; for a range all keys from the first to the last.

    Args:
        run: the run.
        order_of: gives the keys of an axis in Dagster's order, as `orders` returns it.
    """
    if RANGE_START not in run.tags:
        return [run.tags.get("dagster/partition")]
    start, end = run.tags[RANGE_START].split("|"), run.tags[RANGE_END].split("|")
    for axis in ("experiment",) if len(start) > 1 else ("model", "experiment", "recipe"):
        order = order_of(axis)
        if start[0] in order and end[0] in order:
            return ["|".join([key, *start[1:]]) for key in order[order.index(start[0]) : order.index(end[0]) + 1]]
    return [run.tags[RANGE_START], run.tags[RANGE_END]]


def places_of(run: dg.DagsterRun, order_of: Callable[[str], list[str]]) -> set[tuple[str, str | None]]:
    """Returns the partitions that a run makes, as pairs of asset and key; empty for a run that names no assets.

    Args:
        run: the run.
        order_of: gives the keys of an axis in Dagster's order, as `orders` returns it.
    """
    names = [key.to_user_string() for key in run.asset_selection or ()]
    return {(name, key) for key in partitions_of_run(run, order_of) for name in names}


def request_for(stages: Sequence[str], tags: Mapping[str, str], pods: Pods) -> PodRequest:
    """Returns what one pod requests that makes some stages, by the tags of its run: its pool, and its processes."""
    needs_gpu = tags.get(POOL_TAG) != CPU_POOL
    requests = {stage: pods.request(stage, needs_gpu=needs_gpu) for stage in stages} or {"": pods.request("")}
    if "checkpoint" in requests and PROCESSES_TAG in tags:
        requests["checkpoint"] = _times(requests["checkpoint"], int(tags[PROCESSES_TAG]))
    return largest(requests.values())


def _times(request: PodRequest, n: int) -> PodRequest:
    """What `n` processes request, of which the row of the table has one."""
    amounts = ("gpus", "cores", "memory_gib", "max_memory_gib")
    return request.model_copy(update={name: n * getattr(request, name) for name in amounts})


def request_of(run: dg.DagsterRun, instance: dg.DagsterInstance, environment: Mapping[str, str]) -> PodRequest:
    """Returns what the pod of a run requests.

    Args:
        run: the run.
        instance: knows the assets of a run of a whole job.
        environment: names the deployment's changes to the table of pods.
    """
    request = request_for(stages_of(run, instance), run.tags, open_pods(environment))
    if MEMORY_TAG in run.tags:
        request = request.model_copy(update={"memory_gib": float(run.tags[MEMORY_TAG])})
    return request


def pod_of(run: dg.DagsterRun, instance: dg.DagsterInstance, environment: Mapping[str, str]) -> PodRequest:
    """Returns what the pod of a run got, as its launcher noted it; without a note, what the run requests.

    The table of a deployment is known to its launcher and not in the pods of runs.
    """
    request = request_of(run, instance, environment)
    return request.model_copy(update=json.loads(run.tags.get(POD_TAG, "{}")))


def pod_tag(request: PodRequest) -> dict[str, str]:
    """Returns the note of a launcher about what a pod gets."""
    return {POD_TAG: json.dumps({name: getattr(request, name) for name in ("gpus", "cores", "memory_gib")})}
