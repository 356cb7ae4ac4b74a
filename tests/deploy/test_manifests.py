"""The files that are deployed: every overlay builds, every container is shut in, every setting exists."""

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
OVERLAYS = ("gke", "on-prem", "test")


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request) -> list[dict]:
    """The objects of an overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl builds the overlays; install it, or run make test-k8s, which applies them")
    command = ["kubectl", "kustomize", str(DEPLOY / "kustomize" / "overlays" / request.param)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def containers_of(objects: list[dict], name: str) -> dict[str, dict]:
    """The containers of a deployment by name."""
    pod = of_kind(objects, "Deployment")[f"cellassets-{name}"]["spec"]["template"]["spec"]
    return {container["name"]: container for container in pod["containers"]}


def of_kind(objects: list[dict], kind: str) -> dict[str, dict]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def test_every_container_is_shut_in(objects):
    deployments = of_kind(objects, "Deployment")
    assert len(deployments) == 5
    for deployment in deployments.values():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_no_secret_is_in_the_files_and_none_is_missing(objects):
    assert not of_kind(objects, "Secret")
    text = yaml.safe_dump_all(objects).lower()
    assert "password:" not in text.replace("password: {env: pgpassword}", "").replace("password:\n", "")
    assert {"cellassets-postgres", "cellassets-mlflow-postgres"} <= {
        source["secretRef"]["name"]
        for deployment in of_kind(objects, "Deployment").values()
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for source in container.get("envFrom", ())
        if "secretRef" in source
    }


def test_nothing_listens_to_the_world_without_a_proxy(objects):
    services = of_kind(objects, "Service")
    for name in ("webserver", "viewer"):
        containers = containers_of(objects, name)
        arguments = containers[name]["args"]
        assert arguments[arguments.index("--host") + 1] == "127.0.0.1"
        if f"cellassets-{name}" in services:
            assert services[f"cellassets-{name}"]["spec"]["ports"][0]["targetPort"] == "proxy"
            assert containers["proxy"]["ports"] == [{"name": "proxy", "containerPort": 4180}]
            assert containers["proxy"]["readinessProbe"] == {"httpGet": {"path": "/ping", "port": "proxy"}}
            assert "--email-domain=*" not in containers["proxy"]["args"]
    assert all(
        service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of_kind(objects, "Service").values()
    )


def test_the_viewer_has_a_host_of_its_own(objects):
    for ingress in of_kind(objects, "Ingress").values():
        rules = ingress["spec"]["rules"]
        services = [rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in rules]
        assert services == ["cellassets-webserver", "cellassets-viewer"]
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"] for rule in rules]
        assert len({rule["host"] for rule in rules}) == 2


def test_alerts_need_no_secret_but_take_one(objects):
    sources = containers_of(objects, "code")["code"]["envFrom"]
    assert {"secretRef": {"name": "cellassets-alerts", "optional": True}} in sources
    for ingress in of_kind(objects, "Ingress").values():
        address = of_kind(objects, "ConfigMap")["cellassets-environment"]["data"]["CELLASSETS_UI_URL"]
        assert address == f"https://{ingress['spec']['rules'][0]['host']}"


def test_runs_may_reach_the_object_store_and_the_api(objects):
    environment = of_kind(objects, "ConfigMap")["cellassets-environment"]["data"]
    rules = of_kind(objects, "NetworkPolicy")["cellassets-runs"]["spec"]["egress"]
    ports = {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}
    assert {53, 443, int(environment["PGPORT"])} <= ports
    if "STORAGE_EMULATOR_HOST" in environment:
        assert {urlsplit(environment["STORAGE_EMULATOR_HOST"]).port, 6443} <= ports


def test_runs_have_the_image_of_the_code_by_its_digest(objects):
    images = {}
    for name in ("webserver", "viewer", "daemon", "code"):
        container = containers_of(objects, name)[name]
        images[container["image"]] = {v["value"] for v in container["env"] if v["name"] == "CELLASSETS_IMAGE"}
    [(image, for_runs)] = images.items()
    if "@sha256:" in image:
        assert for_runs == {image}
    else:
        assert image == "cellassets", "only the overlay for tests leaves the image open"


def test_the_table_of_pods_of_every_overlay_is_valid(objects, tmp_path):
    from resources.pods import open_pods

    (tmp_path / "pods.yaml").write_text(of_kind(objects, "ConfigMap")["cellassets-pods"]["data"]["pods.yaml"])
    pods = open_pods({"CELLASSETS_PODS": str(tmp_path / "pods.yaml")})
    accounts = of_kind(objects, "ServiceAccount")
    priorities = of_kind(objects, "PriorityClass")
    for stage in ("raw_plates", "checkpoint", "benchmark/known_relationships"):
        request = pods.request(stage)
        assert request.service_account in accounts
        assert request.priority_class in priorities


def test_dagster_takes_the_instance_file(objects, tmp_path, monkeypatch):
    data = of_kind(objects, "ConfigMap")["cellassets-instance"]["data"]
    settings = yaml.safe_load(data["dagster.yaml"])
    environment = of_kind(objects, "ConfigMap")["cellassets-environment"]["data"]
    for name, value in {**environment, "CELLASSETS_NAMESPACE": "n", "CELLASSETS_IMAGE": "i", "PGPASSWORD": "p"}.items():
        monkeypatch.setenv(name, value)
    from dagster._core.instance.config import dagster_instance_config

    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    checked, _ = dagster_instance_config(str(tmp_path))
    assert checked["run_launcher"]["class"] == "StagePodLauncher"
    from dagster._config import process_config
    from dagster_k8s.job import DagsterK8sJobConfig

    launcher = process_config(DagsterK8sJobConfig.config_type_run_launcher(), settings["run_launcher"]["config"])
    assert launcher.success, launcher.errors
