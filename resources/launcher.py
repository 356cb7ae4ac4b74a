"""Starts a pod for every run, with what the stages of the run request (`resources.pods`).

Dagster's own launcher takes the settings of a pod from tags of the run, and backfills and people start runs without
such tags. This one looks at the assets of the run instead. A tag `dagster-k8s/config` on a run still wins.

The launcher also cleans up behind the run that it retries, and gives a run that was killed for its memory more memory.
"""

import json
import logging
import os
from typing import Any

import dagster as dg
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterK8sUnrecoverableAPIError
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id, get_user_defined_k8s_config

from resources.pods import PodRequest
from resources.runs import MEMORY_TAG, OUT_OF_MEMORY_TAG, pod_tag, request_of
from resources.starting import WatchesStarts

logger = logging.getLogger(__name__)

GPU = "nvidia.com/gpu"
GROWTH = 2.0  # of the memory, after a run was killed for it
OUT_OF_MEMORY = "OOMKilled"  # Kubernetes' reason
ALREADY_EXISTS = "AlreadyExists"  # Kubernetes' reason to refuse a second job of the same name
# the libraries that start threads look at the node's cores unless told otherwise
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class StagePodLauncher(K8sRunLauncher, WatchesStarts):
    """Starts the pod of a run with the amounts, nodes and limits of its stages."""

    starts_pods = True

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        """Returns the settings of the run's pod: the launcher's, then the stages', then those of the run's own tag."""
        context = K8sContainerContext.create_for_run(dagster_run, self, include_run_tags=False)
        wanted = pod_settings(self.request(dagster_run), start_timeout_s=self._start_timeout_s())
        own = get_user_defined_k8s_config(dagster_run.tags)
        for settings in (UserDefinedDagsterK8sConfig.from_dict(wanted), own):
            context = context.merge(K8sContainerContext(run_k8s_config=settings))
        return context

    def request(self, run: dg.DagsterRun) -> PodRequest:
        """Returns what the pod of a run requests."""
        return request_of(run, self._instance, os.environ)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts the pod of a run, after deleting what is left of the run that it retries.

        Kubernetes makes a new pod for a deleted one, and a pod that waited too long for a node may still start. Dagster
        ignores both, but they would hold a GPU.
        """
        parent_id = context.dagster_run.parent_run_id
        parent = self._instance.get_run_by_id(parent_id) if parent_id else None
        if parent is not None and parent.is_finished:
            self._delete_job(parent)
        self._instance.add_run_tags(context.dagster_run.run_id, pod_tag(self.request(context.dagster_run)))
        try:
            super().launch_run(context)
        except DagsterK8sUnrecoverableAPIError as error:
            if _reason(error.k8s_api_exception) != ALREADY_EXISTS:
                raise
            # Two daemons can take one run off the queue at the same time. Each run has one job, by its name.
            logger.info("run %s has been started by another daemon", context.dagster_run.run_id)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Returns whether the pod of a run is alive; decides what follows if it was killed for its memory."""
        health: CheckRunHealthResult = super().check_run_worker_health(run)
        if health.status != WorkerStatus.FAILED or not self._was_killed_for_memory(run):
            return health
        return CheckRunHealthResult(WorkerStatus.FAILED, self._after_killed_for_memory(run))

    def check_start(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Returns the state of the pod of a run that has not started yet."""
        job = self._api_client.get_job_status(namespace=self.job_namespace, job_name=self._job_name(run))
        if job is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "No pod was made for the run.")
        if job.active or not (job.failed or job.succeeded):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        killed = self._was_killed_for_memory(run)
        why = self._after_killed_for_memory(run) if killed else "Its log says why."
        return CheckRunHealthResult(WorkerStatus.FAILED, f"The pod ended before the run started. {why}")

    def _after_killed_for_memory(self, run: dg.DagsterRun) -> str:
        """Returns what follows after a run was killed for its memory, after tagging the run accordingly."""
        request = self.request(run)
        limit_gib = max(request.max_memory_gib, request.memory_gib)
        said = f"The pod was killed because it used more than its limit of {request.memory_gib:g} GiB of memory"
        if request.memory_gib >= limit_gib:
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0", OUT_OF_MEMORY_TAG: "true"})
            advice = "It is not started again: raise max_memory_gib of its stage in the table of pods"
        else:
            more_gib = min(GROWTH * request.memory_gib, limit_gib)
            self._instance.add_run_tags(run.run_id, {MEMORY_TAG: f"{more_gib:g}"})
            advice = f"The next attempt gets {more_gib:g} GiB"
        return f"{said}. {advice}."

    def _start_timeout_s(self) -> float:
        return float(self._instance.run_monitoring_start_timeout_seconds)

    def _job_name(self, run: dg.DagsterRun) -> str:
        attempt = self._get_resume_attempt_number(run)
        return str(get_job_name_from_run_id(run.run_id, resume_attempt_number=attempt))

    def _delete_job(self, run: dg.DagsterRun) -> None:
        from kubernetes.client.exceptions import ApiException

        try:
            self._api_client.delete_job(job_name=self._job_name(run), namespace=self.job_namespace)
        except ApiException as error:
            if error.status != 404:
                raise

    def _was_killed_for_memory(self, run: dg.DagsterRun) -> bool:
        selector = f"job-name={self._job_name(run)}"
        pods = self._api_client.core_api.list_namespaced_pod(self.job_namespace, label_selector=selector)
        statuses = [status for pod in pods.items for status in pod.status.container_statuses or ()]
        ends = [status.state.terminated for status in statuses if status.state.terminated is not None]
        return any(end.reason == OUT_OF_MEMORY for end in ends)


def _reason(error: Any) -> str:
    """Returns Kubernetes' reason for an error of its API; the status 409 alone may be a conflict over a quota."""
    try:
        return str(json.loads(error.body)["reason"])
    except (TypeError, ValueError, KeyError):  # a proxy answered
        return ""


def pod_settings(request: PodRequest, *, start_timeout_s: float) -> dict[str, Any]:
    """Returns a request as the settings of a Kubernetes job, in the form of the tag `dagster-k8s/config`.

    Requests and limits are equal, so that the libraries in the pod find the amounts that they may use, and Kubernetes
    evicts the pod last. `backoff_limit` is 0: Dagster starts the next attempt and not Kubernetes.

    Args:
        request: what the pod requests.
        start_timeout_s: how long the run may wait for its node, in seconds.
    """
    amounts = {
        "cpu": f"{request.cores:g}",
        "memory": f"{round(request.memory_gib * 1024)}Mi",
        "ephemeral-storage": f"{round(request.ephemeral_storage_gib * 1024)}Mi",
    }
    if request.gpus:
        amounts[GPU] = str(request.gpus)
    threads = str(max(1, int(request.cores)))
    container: dict[str, Any] = {
        "resources": {"requests": amounts, "limits": amounts},
        "env": [{"name": name, "value": threads} for name in THREADS],
    }
    if request.image:
        container["image"] = request.image
        container["env"].append({"name": "CELLASSETS_IMAGE", "value": request.image})
    pod: dict[str, Any] = {
        "service_account_name": request.service_account,
        "tolerations": [toleration.model_dump(exclude_none=True) for toleration in request.tolerations],
        "node_selector": request.node_selector,
    }
    if request.has_api_token:
        pod["automount_service_account_token"] = True
    for number, (path, claim) in enumerate(sorted(request.volume_claims.items())):
        name = f"claim-{number}"
        pod.setdefault("volumes", []).append({"name": name, "persistent_volume_claim": {"claim_name": claim}})
        container.setdefault("volume_mounts", []).append({"name": name, "mount_path": path})
    if request.priority_class:
        pod["priority_class_name"] = request.priority_class
    # Dagster ends a run that takes too long; this ends the pod of a run of which Dagster knows nothing any more
    deadline_s = round(start_timeout_s + 3600 * request.max_hours + 600)
    return {
        "container_config": container,
        "pod_spec_config": pod,
        "job_spec_config": {"backoff_limit": 0, "active_deadline_seconds": deadline_s},
    }
