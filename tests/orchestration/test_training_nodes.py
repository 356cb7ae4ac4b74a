"""The Job of a training's other nodes, without a cluster: what it is made from, and when a node counts as lost."""

import json

import dagster as dg
from dagster_k8s.job import get_user_defined_k8s_config
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodStatus,
)

from cellassets.training.processes.agent import command
from resources.launcher import pod_settings
from resources.pods import open_pods
from resources.run_coordinator import pool_tags
from resources.runs import PROCESSES_TAG, request_for
from resources.training_nodes import JobNodes, lost_pod, node_job

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
AMOUNTS = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
SHUT_IN = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
RUN_POD = {
    "metadata": {"name": "run-1", "uid": "42", "labels": {"dagster/run-id": "1"}},
    "status": {"podIP": "10.0.0.7"},
    "spec": {
        "nodeName": "node-1",
        "nodeSelector": {"gpu": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "priorityClassName": "cellassets-gpu",
        "priority": 100,
        "serviceAccountName": "cellassets-train",
        "automountServiceAccountToken": True,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "token", "projected": {}}],
        "containers": [
            {
                "name": "dagster",
                "image": "registry/cellassets@sha256:1",
                "args": ["dagster", "api", "execute_run"],
                "resources": {"requests": AMOUNTS, "limits": AMOUNTS},
                "securityContext": SHUT_IN,
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "token", "mountPath": MOUNT}],  # noqa: S108
                "env": [
                    {"name": "DAGSTER_RUN_JOB_NAME", "value": "x"},
                    {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "cellassets-postgres", "key": "p"}}},
                    {"name": "OMP_NUM_THREADS", "value": "8"},
                ],
                "envFrom": [
                    {"configMapRef": {"name": "cellassets-environment"}},
                    {"secretRef": {"name": "cellassets-postgres"}},
                ],
            }
        ],
    },
}


def test_the_other_nodes_are_like_the_run_and_may_do_less():
    arguments = command("gs://b/task.json", n_nodes=3, n_per_node=2, endpoint="10.0.0.7:29400", run_id="abc")
    job = node_job(RUN_POD, arguments, name="cellassets-nodes-abc", n_pods=2)
    assert job["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "run-1", "uid": "42"}]
    assert {k: job["spec"][k] for k in ("completions", "parallelism", "completionMode", "backoffLimit")} == {
        "completions": 2,
        "parallelism": 2,
        "completionMode": "Indexed",
        "backoffLimit": 0,
    }
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["cellassets/training"] == "abc"
    assert "dagster/run-id" not in labels, "Dagster would take it for the run"
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "nodeName" not in pod
    assert "priority" not in pod
    for name in ("nodeSelector", "tolerations", "priorityClassName", "securityContext"):
        assert pod[name] == RUN_POD["spec"][name]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    (container,) = pod["containers"]
    run = RUN_POD["spec"]["containers"][0]
    for name in ("image", "resources", "securityContext"):
        assert container[name] == run[name]
    assert container["command"] == ["python", *arguments]
    assert [variable["name"] for variable in container["env"]] == ["OMP_NUM_THREADS", "CELLASSETS_POD_IP"]
    assert container["envFrom"] == [{"configMapRef": {"name": "cellassets-environment"}}]


def pod(uid, phase="Running", **more):
    return V1Pod(
        metadata=V1ObjectMeta(uid=uid, name=f"node-{uid}", deletion_timestamp=more.pop("deleted", None)),
        status=V1PodStatus(phase=phase, **more),
    )


def test_a_node_that_failed_went_or_is_replaced_is_lost_and_one_that_is_done_is_not():
    seen: dict[str, str] = {}
    assert lost_pod([pod("a", "Pending"), pod("b")], seen) is None
    assert lost_pod([pod("a"), pod("b", "Succeeded", deleted="2026-01-01")], seen) is None
    assert lost_pod([pod("a"), pod("c")], dict(seen)) == ("node-b", "is gone")
    assert lost_pod([pod("a"), pod("b", deleted="2026-01-01")], seen) == ("node-b", "is being taken away")
    ended = V1ContainerStateTerminated(exit_code=137, reason="OOMKilled")
    status = V1ContainerStatus(
        image="", image_id="", name="node", ready=False, restart_count=0, state=V1ContainerState(terminated=ended)
    )
    failed = pod("a", "Failed", container_statuses=[status])
    assert lost_pod([failed, pod("b")], seen) == ("node-a", "failed (OOMKilled, exit status 137)")


def test_a_run_outside_a_cluster_starts_no_nodes():
    name = {"CELLASSETS_POD_NAME": "run-1"}
    assert JobNodes.of(name) is None
    assert JobNodes.of({**name, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == JobNodes("run-1")


def run_of(asset: str, partition: str) -> dg.DagsterRun:
    return dg.DagsterRun("job", asset_selection=frozenset({dg.AssetKey(asset)}), tags={"dagster/partition": partition})


def test_the_pod_of_a_training_requests_as_much_for_every_process(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "four.yaml").write_text("kind: network\ndevices: {n_per_node: 4}\n")
    (folder / "on_cpu.yaml").write_text("kind: network\ndevices: {n_per_node: 2, accelerator: cpu}\n")
    place = {"CELLASSETS_CONFIGS": str(tmp_path)}
    pods = open_pods({})
    tags = pool_tags(run_of("checkpoint", "four"), ["checkpoint"], place)
    assert tags == {"cellassets/pool": "gpu", PROCESSES_TAG: "4"}
    one, four = pods.request("checkpoint"), request_for(["checkpoint", "site_embeddings"], tags, pods)
    amounts = ("gpus", "cores", "memory_gib", "max_memory_gib")
    assert [getattr(four, name) for name in amounts] == [4 * getattr(one, name) for name in amounts]
    settings = get_user_defined_k8s_config({"dagster-k8s/config": json.dumps(pod_settings(four, start_timeout_s=60.0))})
    assert settings.container_config["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert pool_tags(run_of("checkpoint", "on_cpu"), ["checkpoint"], place)["cellassets/pool"] == "cpu"
    assert pool_tags(run_of("site_embeddings", "HUVEC-1|on_cpu.v1"), ["site_embeddings"], place) == {
        "cellassets/pool": "gpu"
    }
