"""Who may do what on the cluster, tried as each service account; and how the pods are shut in."""

import json
import subprocess

import pytest

pytestmark = [pytest.mark.timeout(900)]
ACCOUNTS = ("launcher", "viewer", "code", "run", "mlflow")
LAUNCHER_MAY = {
    ("create", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("get", "jobs.batch"),
    ("list", "jobs.batch"),
    ("get", "jobs.batch/status"),
    ("delete", "pods"),
    ("get", "pods"),
    ("list", "pods"),
    ("get", "pods/log"),
    ("list", "events"),
}
EMBED_MAY = {("create", "pods"), ("delete", "pods"), ("list", "pods"), ("get", "pods/log")}
TRAIN_MAY = {
    ("create", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("get", "pods"),
    ("list", "pods"),
    ("get", "pods/log"),
}
VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")
RESOURCES = (
    "jobs.batch",
    "jobs.batch/status",
    "pods",
    "pods/log",
    "pods/exec",
    "events",
    "secrets",
    "configmaps",
    "deployments.apps",
    "roles.rbac.authorization.k8s.io",
)


def allowed(cluster, account: str, verb: str, resource: str) -> bool:
    """What the API answers when an account asks for a right in its own namespace."""
    user = f"system:serviceaccount:{cluster.namespace}:cellassets-{account}"
    name, _, part = resource.partition("/")
    command = ["kubectl", "-n", cluster.namespace, "auth", "can-i", verb, name, f"--as={user}"]
    answer = subprocess.run(
        [*command, *([f"--subresource={part}"] if part else [])], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() == "yes"


@pytest.mark.parametrize(("account", "may"), [("launcher", LAUNCHER_MAY), ("embed", EMBED_MAY), ("train", TRAIN_MAY)])
def test_who_starts_pods_may_do_that_and_nothing_else(platform, account, may):
    found = {(v, r) for v in VERBS for r in RESOURCES if allowed(platform.cluster, account, v, r)}
    assert found == may


@pytest.mark.parametrize("account", [name for name in ACCOUNTS if name != "launcher"])
def test_the_others_may_do_nothing_at_all(platform, account):
    for verb, resource in (("create", "jobs.batch"), ("get", "secrets"), ("list", "pods"), ("create", "pods/exec")):
        assert not allowed(platform.cluster, account, verb, resource)
    user = f"system:serviceaccount:{platform.cluster.namespace}:cellassets-{account}"
    answer = platform.cluster.kubectl("get", "secrets", f"--as={user}", check=False)
    assert "forbidden" in answer.lower()


def test_only_pods_that_start_pods_carry_a_token(platform):
    for pod in platform.cluster.get("pods"):
        mounts = [m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]]
        has_token = any("serviceaccount" in path for path in mounts)
        accounts = ("cellassets-launcher", "cellassets-embed", "cellassets-train")
        starts_pods = (
            pod["spec"]["serviceAccountName"] in accounts and "cellassets/training" not in pod["metadata"]["labels"]
        )
        assert has_token == starts_pods, pod["metadata"]["name"]


def test_every_pod_runs_as_nobody_on_a_read_only_disk_without_capabilities(platform):
    pods = platform.cluster.get("pods")
    assert pods
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_viewers_look_and_change_nothing(viewer):
    assert viewer.runs() is not None
    answer = json.dumps(viewer.try_launch("leaderboard"))
    assert "UnauthorizedError" in answer or "permission" in answer.lower(), answer
