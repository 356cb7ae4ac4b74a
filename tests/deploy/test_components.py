"""The optional parts of a deployment build with the base, and shut in what they start."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

KUSTOMIZE = Path(__file__).parents[2] / "deploy" / "kustomize"


@pytest.fixture
def built(tmp_path):
    """The objects that a component adds: `built("metrics")`."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl builds the components; install it, or run make test-k8s, which applies the overlays")
    shutil.copytree(KUSTOMIZE, tmp_path / "kustomize")

    def objects(*components):
        values = {
            "resources": ["kustomize/base"],
            "components": [f"kustomize/components/{name}" for name in components],
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(values))
        done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(done.stdout)}

    def added(name):
        base = objects()
        return {key: found for key, found in objects(name).items() if key not in base}, base

    return added


def test_metrics_are_served_without_a_token_to_labelled_namespaces_only(built):
    added, base = built("metrics")
    pod = added["Deployment", "cellassets-metrics"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert ("ServiceAccount", pod["serviceAccountName"]) in base
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["args"][0] == "cellassets-metrics"
    configured = {name for kind, name in base if kind == "ConfigMap"}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            assert any(name.startswith(source["configMapRef"]["name"]) for name in configured)
    (rule,) = added["NetworkPolicy", "cellassets-metrics"]["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"cellassets/scrapes-metrics": "true"}}}]


def test_encoders_have_no_network_and_runs_may_start_pods_and_nothing_else(built):
    added, _ = built("container-encoders")
    policy = added["NetworkPolicy", "cellassets-encoders"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert not policy.get("ingress")
    assert not policy.get("egress")
    rules = added["Role", "cellassets-embed"]["rules"]
    assert {(rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]} == {
        ("pods", "create"), ("pods", "delete"), ("pods", "list"), ("pods/log", "get"),
    }  # fmt: skip
    assert added["PersistentVolumeClaim", "cellassets-exchange"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_nodes_of_a_training_reach_each_other_and_their_run_may_start_jobs_and_nothing_else(built):
    added, _ = built("training-nodes")
    rules = added["Role", "cellassets-train"]["rules"]
    assert {(rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]} == {
        ("jobs", "create"), ("jobs", "delete"), ("pods", "get"), ("pods", "list"), ("pods/log", "get"),
    }  # fmt: skip
    assert added["ServiceAccount", "cellassets-train"]["automountServiceAccountToken"] is False
    run = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "run"}}}
    other = {"podSelector": {"matchExpressions": [{"key": "cellassets/training", "operator": "Exists"}]}}
    for name, of, reached in (("first-node", run, other), ("other-nodes", other, run)):
        policy = added["NetworkPolicy", f"cellassets-training-{name}"]["spec"]
        assert policy["podSelector"] == of["podSelector"]
        assert policy["ingress"] == [{"from": [reached]}]
        assert policy["egress"] == [{"to": [reached]}]
