"""Runs a container encoder's image in a pod of its own, by Dagster Pipes.

The pod sees two folders of a shared volume: the `input` of its batch, read-only, and the `output`. It has no service
account token, no root, no capabilities, and a root file system that it cannot write to.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.container_outcomes import judge_exit, try_again

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api, V1Pod

    from cellassets.encoders.container.encoder import Batch
    from cellassets.encoders.container.settings import ContainerSettings

INPUT_PATH, OUTPUT_PATH = "/cellassets/input", "/cellassets/output"
BATCH_LABEL = "cellassets/batch"
OWNER_NAME, OWNER_UID = "CELLASSETS_POD_NAME", "CELLASSETS_POD_UID"  # the run's own pod, by the downward API
DEADLINE_GRACE_S = 30
FOR_GOOD = {
    "OOMKilled": "it needs more memory than memory_gib: register the encoder with a larger value",
    "DeadlineExceeded": "it took longer than timeout_s: register the encoder with a larger value or smaller batches",
}


def run_in_pod(context: dg.AssetExecutionContext, settings: "ContainerSettings", batch: "Batch") -> Sequence[Any]:
    """Returns the custom messages of the process, after it ended well. The pod is deleted.

    Raises:
        EncoderError: the process failed for good, or its image is not allowed here.
        RetryRequested: the pod was interrupted or did not start.
    """
    from dagster_k8s import PipesK8sClient
    from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sError, DagsterK8sUnrecoverableAPIError
    from dagster_k8s.utils import detect_current_namespace
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    user = _user(settings)
    spec = pod_spec(settings, batch, user)
    core_api = _core_api()
    pods = _Pods(core_api, settings.namespace or detect_current_namespace(None) or "default", uuid.uuid4().hex)
    _let_in(batch.folder, user)
    try:
        completed = PipesK8sClient(poll_interval=settings.poll_s).run(
            context=context.op_execution_context,  # the other one warns of its own attributes
            namespace=pods.namespace,
            base_pod_meta={
                "labels": {BATCH_LABEL: pods.label},
                **owned_by_the_run({} if settings.namespace else os.environ),  # an owner must be in the same namespace
            },
            base_pod_spec=spec,
            # for the end after the log has ended: Kubernetes before 1.22 shows a pod that it stopped at its deadline as
            # running, and the client would wait for ever
            pod_wait_timeout=batch.running.timeout_s + DEADLINE_GRACE_S,
            delete_pod_on_completion=False,  # its status says why it failed
        )
    except (DagsterK8sError, DagsterK8sUnrecoverableAPIError, DagsterK8sAPIRetryLimitExceeded) as error:
        judge_pod(batch.title, pods.find(), str(error))
        raise try_again() from error
    except (ApiException, HTTPError) as error:  # the API server does not answer
        raise try_again() from error
    finally:
        pods.delete()
    return completed.get_custom_messages()


def pod_spec(settings: "ContainerSettings", batch: "Batch", user: tuple[int, int]) -> dict[str, Any]:
    """Returns the pod of a batch, in the form that `PipesK8sClient` takes.

    Args:
        settings: where pods run, and the volume.
        batch: the process; its folder is in the volume.
        user: user and group of the process.

    Raises:
        EncoderError: the model has no image, or one that is not allowed here.
    """
    running, (uid, gid) = batch.running, user
    spec: dict[str, Any] = {
        "restart_policy": "Never",
        "automount_service_account_token": False,
        "enable_service_links": False,
        "active_deadline_seconds": running.timeout_s,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": uid,
            "run_as_group": gid,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "node_selector": dict(settings.node_selector),
        "tolerations": [dict(toleration) for toleration in settings.tolerations],
        "image_pull_secrets": [{"name": name} for name in settings.image_pull_secrets],
        "containers": [_container(settings, batch)],
        "volumes": [
            {"name": "exchange", "persistent_volume_claim": {"claim_name": settings.volume_claim}},
            {"name": "scratch", "empty_dir": {"size_limit": _gib(running.scratch_gib)}},
        ],
    }
    return {**spec, "priority_class_name": settings.priority_class} if settings.priority_class else spec


def owned_by_the_run(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the metadata by which Kubernetes deletes the pod once the run's own pod is gone."""
    name, uid = environment.get(OWNER_NAME), environment.get(OWNER_UID)
    if not (name and uid):
        return {}
    return {"owner_references": [{"api_version": "v1", "kind": "Pod", "name": name, "uid": uid}]}


def judge_pod(title: str, pod: "V1Pod | None", details: str) -> None:
    """Returns where a pod may be started again: it is gone, was evicted, or never ran.

    Raises:
        EncoderError: its process failed for good, ran out of memory, or took too long.
        RetryRequested: its process was interrupted, or asked to be run again.
    """
    from cellassets.errors import EncoderError

    statuses = (pod.status.container_statuses or []) if pod is not None else []
    ended = [status.state.terminated for status in statuses if status.state.terminated is not None]
    reasons = [pod.status.reason if pod is not None else None, *(state.reason for state in ended)]
    for reason in reasons:
        if reason in FOR_GOOD:
            message = f"{title}: its pod ended with {reason}: {FOR_GOOD[reason]}"
            raise EncoderError(message)
    if reasons[0] is None and ended:  # a reason of the pod itself is one of its node: evicted, preempted, shut down
        judge_exit(title, ended[0].exit_code, details)


class _Pods:
    """The pod of one batch, found by a label because Dagster chooses its name."""

    def __init__(self, core_api: "CoreV1Api", namespace: str, label: str) -> None:
        self.core_api = core_api
        self.namespace = namespace
        self.label = label

    def find(self) -> "V1Pod | None":
        """Returns the pod, or None if it is gone or the API server does not answer."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            found = self.core_api.list_namespaced_pod(self.namespace, label_selector=f"{BATCH_LABEL}={self.label}")
        except (ApiException, HTTPError):
            return None
        return next(iter(found.items), None)

    def delete(self) -> None:
        """Deletes the pod. Where that fails, its deadline ends it."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        pod = self.find()
        if pod is None:
            return
        try:
            self.core_api.delete_namespaced_pod(pod.metadata.name, self.namespace)
        except (ApiException, HTTPError) as error:
            dg.get_dagster_logger().warning("pod %s could not be deleted: %s", pod.metadata.name, error)


def _container(settings: "ContainerSettings", batch: "Batch") -> dict[str, Any]:
    from cellassets.encoders.container.encoder import INPUT, OUTPUT

    running = batch.running
    resources: dict[str, str] = {"memory": _gib(running.memory_gib)}
    if running.n_gpus:
        resources["nvidia.com/gpu"] = str(running.n_gpus)
    mounts = [
        {"name": "exchange", "mount_path": path, "sub_path": f"{batch.folder.name}/{name}", "read_only": name == INPUT}
        for path, name in ((INPUT_PATH, INPUT), (OUTPUT_PATH, OUTPUT))
    ]
    container = {
        "name": "encoder",
        "image": _allowed_image(settings, batch),
        "image_pull_policy": "IfNotPresent",
        "env": [
            {"name": "CELLASSETS_INPUT", "value": INPUT_PATH},
            {"name": "CELLASSETS_OUTPUT", "value": OUTPUT_PATH},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108  inside the pod
        ],
        "resources": {"requests": {"cpu": f"{running.n_cores:g}", **resources}, "limits": resources},
        "security_context": {
            "allow_privilege_escalation": False,
            "read_only_root_filesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volume_mounts": [*mounts, {"name": "scratch", "mount_path": "/tmp"}],  # noqa: S108
    }
    return {**container, "command": list(batch.spec.command)} if batch.spec.command else container


def _allowed_image(settings: "ContainerSettings", batch: "Batch") -> str:
    from cellassets.errors import EncoderError

    image = batch.spec.image
    if image is None:
        message = f"{batch.title}: the model has no image; expected one, because container encoders run in pods here"
        raise EncoderError(message)
    if not image.startswith(settings.image_prefixes):
        message = (
            f"{batch.title}: the image {image} is not allowed here; expected one of "
            f"{', '.join(settings.image_prefixes)} at its beginning (image_prefixes in containers.yaml)"
        )
        raise EncoderError(message)
    return image


def _user(settings: "ContainerSettings") -> tuple[int, int]:
    """User and group of the pod: those of the run, which reads its files; a run as root names others."""
    return (os.getuid(), os.getgid()) if os.getuid() else (settings.run_as, settings.run_as)


def _let_in(folder: Path, user: tuple[int, int]) -> None:
    """Lets the user of the pod read the batch and write its answer."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *user)


def _core_api() -> "CoreV1Api":
    from kubernetes import client, config

    from cellassets.errors import EncoderError

    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config()
        else:
            config.load_kube_config()
    except config.ConfigException as error:
        message = f"no Kubernetes cluster can be found ({error}); set KUBECONFIG, or `where: local` in containers.yaml"
        raise EncoderError(message) from error
    return client.CoreV1Api()


def _gib(amount: float) -> str:
    return f"{round(amount * 1024)}Mi"
