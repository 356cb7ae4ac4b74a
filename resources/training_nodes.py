"""Starts the other nodes of a training as the pods of one Kubernetes Job, and notices when one of them is lost.

The run's own pod is the first node: torchrun's rendezvous listens there. The Job is made from that pod: the same image,
amounts, nodes, volumes and limits. Its pods have no token of the Kubernetes API and no password of the database: they
read images from the lake and store states there.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes.client import BatchV1Api, CoreV1Api, V1Pod

    from cellassets.errors import CellAssetsError, ProcessLost
    from cellassets.training.recipe import NetworkRecipe

TRAINING_LABEL = "cellassets/training"
COMPONENT = {"app.kubernetes.io/name": "cellassets", "app.kubernetes.io/component": "run"}
PORT = 29400  # torchrun's
OWNER_NAME = "CELLASSETS_POD_NAME"  # the run's own pod, by the downward API
NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  a folder
WITHHELD_SECRETS = frozenset({"cellassets-postgres"})  # of deploy/kustomize/base/dagster.yaml
WITHHELD_PREFIX = "DAGSTER_"
KEPT_OF_POD = (
    *("nodeSelector", "tolerations", "priorityClassName", "serviceAccountName", "securityContext"),
    *("imagePullSecrets", "enableServiceLinks", "terminationGracePeriodSeconds", "schedulerName", "affinity"),
)
KEPT_OF_CONTAINER = ("image", "imagePullPolicy", "resources", "securityContext")
DEADLINE_S = 7 * 24 * 3600  # the agents end when the first node does; this is for those that cannot
CHECK_S = 5.0
EXPLAIN_S = 15.0  # until Kubernetes knows that a pod has ended
N_LOG_LINES = 15

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobNodes:
    """Starts the other nodes of the trainings of one run; a `NodeStarter`.

    Attributes:
        pod_name: the run's own pod.
    """

    pod_name: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "JobNodes | None":
        """Returns what starts nodes for this run; None outside a cluster."""
        name = environment.get(OWNER_NAME, "")
        return cls(name) if name and environment.get("KUBERNETES_SERVICE_HOST") else None

    @contextmanager
    def started(self, task: str, recipe: "NetworkRecipe") -> "Iterator[RunningNodes]":
        """Yields the other nodes, which are asked for at the beginning of the block and removed at its end.

        Raises:
            RecipeError: the run may not start them.
        """
        from kubernetes.client import ApiClient, BatchV1Api, CoreV1Api

        from cellassets.training.processes.agent import command

        devices = recipe.devices
        run_id = uuid.uuid4().hex[:16]
        with _denials_named(recipe):
            namespace = _namespace()
            core_api, batch_api = CoreV1Api(), BatchV1Api()
            own = ApiClient().sanitize_for_serialization(core_api.read_namespaced_pod(self.pod_name, namespace))
            address = own["status"]["podIP"]
            arguments = command(
                task,
                n_nodes=devices.n_nodes,
                n_per_node=devices.n_per_node,
                endpoint=f"{address}:{PORT}",
                run_id=run_id,
            )
            job = node_job(own, arguments, name=f"cellassets-nodes-{run_id}", n_pods=devices.n_nodes - 1)
            batch_api.create_namespaced_job(namespace, job)
        nodes = RunningNodes(f"{address}:{PORT}", address, run_id, (core_api, batch_api), namespace, recipe.name)
        try:
            yield nodes
        finally:
            nodes.delete()


class RunningNodes:
    """The pods of the Job; `Nodes`."""

    def __init__(
        self,
        endpoint: str,
        address: str,
        run_id: str,
        apis: "tuple[CoreV1Api, BatchV1Api]",
        namespace: str,
        recipe: str,
    ) -> None:
        self.endpoint = endpoint
        self.address = address
        self.run_id = run_id
        self.apis = apis
        self.namespace = namespace
        self.recipe = recipe
        self._seen: dict[str, str] = {}
        self._checked_s = 0.0

    def check(self) -> None:
        """Checks every few seconds that no pod was lost.

        Raises:
            ProcessLost: one failed, was deleted or is being deleted.
        """
        if time.monotonic() - self._checked_s < CHECK_S:
            return
        self._checked_s = time.monotonic()
        lost = self._lost()
        if lost is not None:
            raise lost

    def explained(self, error: "CellAssetsError") -> "CellAssetsError":
        """Returns the loss of a pod, if there is one that explains an error of this node; else the error."""
        from cellassets.errors import ProcessLost

        if not isinstance(error, ProcessLost):
            return error
        end_s = time.monotonic() + EXPLAIN_S
        while time.monotonic() < end_s:
            lost = self._lost()
            if lost is not None:
                return lost
            time.sleep(1)
        return error

    def delete(self) -> None:
        """Deletes the Job with its pods. Where that fails, they end without the first node, and go with its pod."""
        from kubernetes.client import ApiException, V1DeleteOptions
        from urllib3.exceptions import HTTPError

        name = f"cellassets-nodes-{self.run_id}"
        try:
            options = V1DeleteOptions(propagation_policy="Background")
            self.apis[1].delete_namespaced_job(name, self.namespace, body=options)
        except (ApiException, HTTPError) as error:
            logger.warning("job %s could not be deleted: %s", name, error)

    def _lost(self) -> "ProcessLost | None":
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        from cellassets.errors import ProcessLost

        try:
            selector = f"{TRAINING_LABEL}={self.run_id}"
            pods = self.apis[0].list_namespaced_pod(self.namespace, label_selector=selector).items
        except (ApiException, HTTPError):  # the API server does not answer; the next check asks again
            return None
        found = lost_pod(pods, self._seen)
        if found is None:
            return None
        name, why = found
        message = (
            f"{self.recipe}: the node in the pod {name} {why}; another attempt goes on from the last complete state"
        )
        with suppress(ApiException, HTTPError):
            log = self.apis[0].read_namespaced_pod_log(name, self.namespace, tail_lines=N_LOG_LINES)
            message += f". The last lines of its log: {log.strip()}"
        return ProcessLost(message)


def lost_pod(pods: "Sequence[V1Pod]", seen: dict[str, str]) -> tuple[str, str] | None:
    """Returns the name of a pod that was lost, and how; None if none was lost.

    Args:
        pods: the pods that there are now. Kubernetes makes another one for a pod that was deleted.
        seen: names of the pods that were there before by their ids; those of now are added.
    """
    now = {pod.metadata.uid: pod.metadata.name for pod in pods}
    for uid, name in seen.items():
        if uid not in now:
            return name, "is gone"
    seen.update(now)
    for pod in pods:
        if pod.status.phase == "Failed":
            ends = [status.state.terminated for status in pod.status.container_statuses or ()]
            reasons = [pod.status.reason, *(f"{end.reason}, exit status {end.exit_code}" for end in ends if end)]
            return pod.metadata.name, f"failed ({'; '.join(reason for reason in reasons if reason)})"
        if pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded":
            return pod.metadata.name, "is being taken away"
    return None


def node_job(pod: Mapping[str, Any], arguments: Sequence[str], *, name: str, n_pods: int) -> dict[str, Any]:
    """Returns the Job of the other nodes.

    Kubernetes before 1.21 does not know `completionMode` and drops it. torchrun numbers the nodes itself, so the same
    Job works there.

    Args:
        pod: the run's own pod, as Kubernetes' JSON.
        arguments: of the interpreter.
        name: of the Job; its end is the name of the rendezvous.
        n_pods: nodes without the first one.
    """
    spec = pod["spec"]
    run_id = name.rpartition("-")[2]
    labels = {**COMPONENT, TRAINING_LABEL: run_id}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    container = _container(spec["containers"][0], arguments)
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "completions": n_pods,
            "parallelism": n_pods,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_S,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **{key: spec[key] for key in KEPT_OF_POD if key in spec},
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "containers": [container],
                    "volumes": [volume for volume in spec.get("volumes", ()) if volume["name"] in mounted],
                },
            },
        },
    }


def _container(own: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The container of a node, from that of the run."""
    address = {"name": "CELLASSETS_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    mounts = [mount for mount in own.get("volumeMounts", ()) if not mount["mountPath"].startswith(TOKEN_MOUNT)]
    return {
        "name": "node",
        **{key: own[key] for key in KEPT_OF_CONTAINER if key in own},
        "command": ["python", *arguments],
        "env": [*(one for one in own.get("env", ()) if _is_passed_on(one)), address],
        "envFrom": [
            one for one in own.get("envFrom", ()) if one.get("secretRef", {}).get("name") not in WITHHELD_SECRETS
        ],
        "volumeMounts": mounts,
    }


def _is_passed_on(variable: Mapping[str, Any]) -> bool:
    secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
    return not variable["name"].startswith(WITHHELD_PREFIX) and secret not in WITHHELD_SECRETS


@contextmanager
def _denials_named(recipe: "NetworkRecipe") -> Iterator[None]:
    """Says what a run lacks that may not start pods: the account, or its token."""
    from kubernetes.client import ApiException
    from kubernetes.config import ConfigException

    from cellassets.errors import RecipeError

    try:
        yield
    except (ApiException, ConfigException) as error:
        if isinstance(error, ApiException) and error.status != 403:
            raise
        why = error.reason if isinstance(error, ApiException) else error
        message = (
            f"{recipe.name}: devices.n_nodes is {recipe.devices.n_nodes}, and this run may not start pods ({why}): "
            "give the stage `checkpoint` the account of the component training-nodes and its token (docs/deploy.md)"
        )
        raise RecipeError(message) from error


def _namespace() -> str:
    """Reads the cluster's configuration, and returns the namespace of this pod."""
    from kubernetes import config

    config.load_incluster_config()
    return Path(NAMESPACE_FILE).read_text().strip()
