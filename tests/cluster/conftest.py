"""The platform on a real cluster: a Postgres and an object store beside it, everything else from deploy/kustomize.

`KUBECONFIG` names the cluster and `CELLASSETS_TEST_IMAGE` the image, which its nodes can start.
`CELLASSETS_TEST_ADDRESS` is the address by which pods reach servers on this machine's loopback, and
`CELLASSETS_TEST_NETWORK` the network that the pods' connections come from.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "cellassets-test"
ADDRESS = os.environ.get("CELLASSETS_TEST_ADDRESS", "10.85.0.1")
NETWORK = os.environ.get("CELLASSETS_TEST_NETWORK", "10.85.0.0/24")
IMAGE = os.environ.get("CELLASSETS_TEST_IMAGE", "localhost/cellassets:test")
ENCODER_IMAGE = os.environ.get("CELLASSETS_TEST_ENCODER_IMAGE", "localhost/moments:test")
BUCKET, LOG_BUCKET = "cellassets-test", "cellassets-test-logs"
MLFLOW_PORT, MLFLOW_LOCAL_PORT = 5000, 15000
MAX_RUNS = 3  # at once, on a node of two cores: half a core each, and a pod of an encoder beside them
SERVERS = ("mlflow", "code", "daemon", "webserver", "viewer", "metrics")
CLAIMS = ("cellassets-exchange", "cellassets-scratch")  # the table of pods names them
GPU = "nvidia.com/gpu"
MODELS = {"classical.v1", "tiny_network.v1"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
REPORT_S = 1500
PATIENCE_S = 120.0  # until a port is forwarded again
RETIRED = ["preempted.v1", "scarce.v1", "nodes.v1"]  # trained in tests and not embedded
RETRIES = {"first_delay_minutes": 0.25, "factor": 2}


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster, by kubectl."""

    namespace: str = NAMESPACE

    def kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """Returns what kubectl prints."""
        command = ["kubectl", "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout + ("" if done.returncode == 0 else done.stderr)

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """Returns objects, such as all pods with a label."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"]

    def pods_of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Returns the pods of a run, finished ones too."""
        return self.get("pods", "-l", f"dagster/run-id={run_id}")

    def set_gpus(self, n_gpus: int) -> None:
        """Lets the node pretend to have some GPUs."""
        name = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["name"]
        key = GPU.replace("/", "~1")
        patch = [
            {"op": "add", "path": f"/status/{field}/{key}", "value": str(n_gpus)}
            for field in ("capacity", "allocatable")
        ]
        self.kubectl("patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(patch))


@dataclass(frozen=True)
class Platform:
    """The platform on a cluster, by the API of its webserver, with the object store and the database that it uses."""

    cluster: Cluster
    url: str
    store: Any
    database: Any

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Returns the data of an answer of Dagster's GraphQL API."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    found = json.loads(answer.read())
                break
            except (urllib.error.URLError, ConnectionError) as error:
                # kubectl forwards the port again; what changes something must not be sent twice
                is_unsent = isinstance(getattr(error, "reason", None), ConnectionRefusedError)
                if time.monotonic() > end or not (is_unsent or query.startswith("query")):
                    raise
                time.sleep(1)
        assert "errors" not in found, found
        return found["data"]

    def runs(self, *, asset: str = "") -> list[dict[str, Any]]:
        """Returns the newest runs first; with `asset`, those that make it."""
        query = """query { runsOrError(limit: 500) { __typename ... on Runs { results {
          runId status startTime endTime parentRunId jobName assetSelection { path } tags { key value } } } } }"""
        found = self.ask(query)["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
            run["assets"] = ["/".join(key["path"]) for key in run["assetSelection"] or []]
        return [run for run in found if not asset or asset in run["assets"]]

    def launch(self, asset: str, partition: str | None = None, **tags: str) -> str:
        """Returns the run of one partition of an asset, started as a click on 'Materialize' does."""
        found = self.try_launch(asset, partition, **tags)
        assert found["__typename"] == "LaunchRunSuccess", found
        return found["run"]["runId"]

    def try_launch(self, asset: str, partition: str | None = None, **tags: str) -> dict[str, Any]:
        """Returns the answer to a click on 'Materialize'."""
        query = """mutation ($run: ExecutionParams!) { launchPipelineExecution(executionParams: $run) { __typename
          ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
        labels = dict(tags) | ({"dagster/partition": partition} if partition else {})
        run = {
            "selector": {
                "repositoryLocationName": "cellassets",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": asset.split("/")}],
            },
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in labels.items()]},
        }
        return self.ask(query, run=run)["launchPipelineExecution"]

    def backfill(self, asset: str, partitions: list[str]) -> str:
        """Returns the backfill of some partitions of an asset."""
        query = """mutation ($ask: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $ask) { __typename
          ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
        ask = {"assetSelection": [{"path": asset.split("/")}], "partitionNames": partitions}
        found = self.ask(query, ask=ask)["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found
        return found["backfillId"]

    def status(self, run_id: str) -> str:
        """Returns the status of a run."""
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return self.ask(query, id=run_id)["runOrError"]["status"]

    def events(self, run_id: str) -> str:
        """Returns the messages of a run's events, with those of the errors that they tell of."""
        query = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
          ... on MessageEvent { message }
          ... on ErrorEvent { error { message errorChain { error { message } } } } } } } }"""
        found = self.ask(query, id=run_id)["logsForRun"]["events"]
        errors = [event["error"] for event in found if event.get("error")]
        causes = [link["error"] for error in errors for link in error["errorChain"]]
        return "\n".join(text.get("message", "") for text in [*found, *errors, *causes])

    def objects(self, prefix: str) -> list[str]:
        """Returns the names of the objects in the bucket below a prefix, also while the store answers with errors."""
        with self.store.lock:
            return sorted(name for name in self.store.storage.objects[BUCKET] if name.startswith(prefix))

    def select(self, statement: str) -> list[dict[str, Any]]:
        """Returns the rows of a statement over the database of the lake."""
        from sqlalchemy import create_engine

        engine = create_engine(self.database.url.removesuffix("/postgres") + "/cellassets")
        with engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.exec_driver_sql(statement)]
        engine.dispose()
        return rows

    def models(self) -> list[dict[str, Any]]:
        """Returns all versions of all models, as MLflow's server lists them."""
        with forwarded(self.cluster, "deploy/cellassets-mlflow", MLFLOW_LOCAL_PORT, MLFLOW_PORT, "/health"):
            address = f"http://127.0.0.1:{MLFLOW_LOCAL_PORT}/api/2.0/mlflow/model-versions/search"
            with urllib.request.urlopen(address, timeout=60) as answer:
                return json.loads(answer.read())["model_versions"]

    def record(self, address: str) -> dict[str, Any]:
        """Returns the newest commit record at an address."""
        name = max(self.objects(f"lake/records/{address}/"))
        with self.store.lock:
            return json.loads(self.store.storage.get_file(BUCKET, name))

    def reported(self) -> set[str]:
        """Returns the models whose newest report shows a map; that of a model without embeddings shows none."""
        models = {name.split("/")[3] for name in self.objects("lake/records/model_report/")}
        return {key for key in models if self.record(f"model_report/{key}")["summary"]["n_datasets"]}

    def wait_for_runs(self, *, timeout_s: float, explain: str = "") -> None:
        """Returns when no run waits or is at work."""
        self.wait(
            f"all runs end{explain}",
            lambda: all(run["status"] in ENDED for run in self.runs()),
            timeout_s=timeout_s,
        )

    def wait(self, what: str, found: Callable[[], Any], *, timeout_s: float) -> Any:
        """Returns the first true answer; fails with the state of the platform when the time is over."""
        return wait_for(what, found, timeout_s=timeout_s, explain=self.explain)

    def explain(self) -> str:
        """Returns what is wrong, for the message of a failed test."""
        failed = [run for run in self.runs() if run["status"] == "FAILURE"][:5]
        lines = [f"{run['runId']} {run['assets']} {run['tags'].get('dagster/partition')}" for run in failed]
        pods = self.cluster.kubectl("get", "pods", "-o", "wide", check=False)
        logs = [
            self.cluster.kubectl("logs", f"deploy/cellassets-{name}", "--tail=40", check=False)
            for name in ("daemon", "code")
        ]
        logs += [
            self.cluster.kubectl("logs", "-l", f"dagster/run-id={run['runId']}", "--tail=40", check=False)
            for run in failed
        ]
        return "\n".join([*lines, pods, *logs])


def wait_for(what: str, found: Callable[[], Any], *, timeout_s: float, explain: Callable[[], str] = str) -> Any:
    """Returns the first true answer; fails with an explanation when the time is over."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        answer = found()
        if answer:
            return answer
        time.sleep(2.0)
    pytest.fail(f"after {timeout_s:.0f} s: {what}\n{explain()}")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster, with an empty namespace."""
    assert "KUBECONFIG" in os.environ, "KUBECONFIG must name a cluster; make test-k8s starts one"
    found = Cluster()
    found.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    found.kubectl("create", "namespace", NAMESPACE)
    found.set_gpus(1)
    return found


def answers(url: str) -> bool:
    """Whether a server answers at an address."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@dataclass(frozen=True)
class Storage:
    """The bucket of the platform, as people see it who may write to it."""

    url: str

    def upload(self, files: dict[Path, str]) -> None:
        """Copies files to these names in the bucket, many at a time."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        endpoint = {"api_endpoint": self.url}
        client = storage.Client(project="test", credentials=AnonymousCredentials(), client_options=endpoint)
        bucket = client.bucket(BUCKET)
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(bucket.blob(name).upload_from_filename, str(path)) for path, name in files.items()]
        for upload in done:
            upload.result()

    def upload_folder(self, folder: Path, prefix: str) -> None:
        """Copies a folder into the bucket, markers of complete experiments last."""
        files = {path: f"{prefix}/{path.relative_to(folder)}" for path in folder.rglob("*") if path.is_file()}
        self.upload({path: name for path, name in files.items() if path.name != "_COMPLETE"})
        self.upload({path: name for path, name in files.items() if path.name == "_COMPLETE"})


def overlay(folder: Path, *, storage_port: int, database_port: int) -> Path:
    """Writes a kustomization that adds the addresses of this session's servers to overlays/test."""
    shutil.copytree(REPOSITORY / "deploy" / "kustomize", folder / "kustomize")
    instance = folder / "kustomize" / "base" / "dagster.yaml"
    instance.write_text(instance.read_text().replace("max_concurrent_runs: 50", f"max_concurrent_runs: {MAX_RUNS}"))
    storage = {"STORAGE_EMULATOR_HOST": f"http://{ADDRESS}:{storage_port}", "NO_GCE_CHECK": "true"}
    database = {"PGHOST": ADDRESS, "PGPORT": str(database_port)}
    environment = {
        "CELLASSETS_LAKE": f"gs://{BUCKET}/lake",
        "CELLASSETS_LANDING": f"gs://{BUCKET}/landing",
        "CELLASSETS_CONFIGS": f"gs://{BUCKET}/configs",
        "CELLASSETS_LOG_BUCKET": LOG_BUCKET,
        "CELLASSETS_CODE_HOST": ADDRESS,
        "MLFLOW_TRACKING_URI": f"http://{ADDRESS}:{MLFLOW_PORT}",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        **storage,
        **database,
    }
    # servers on the node's own network reach this machine by its loopback
    on_node = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage_port}",
        "PGHOST": "127.0.0.1",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{MLFLOW_PORT}",
    }
    mlflow = {
        "MLFLOW_ARTIFACTS_DESTINATION": f"gs://{BUCKET}/models",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{ADDRESS}:{MLFLOW_PORT},127.0.0.1:{MLFLOW_PORT},127.0.0.1:{MLFLOW_LOCAL_PORT}",
        "MLFLOW_LISTEN": "127.0.0.1",
        **storage,
        **database,
        **{name: on_node[name] for name in ("STORAGE_EMULATOR_HOST", "PGHOST")},
    }
    # pods have no name service here: servers are on the node's loopback, and all pods reach them by one address
    on_loopback = [{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True}]
    own_places = [
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": name, "value": value}}
        for name, value in on_node.items()
    ]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["kustomize/overlays/test"],
        "components": [f"kustomize/components/{name}" for name in ("container-encoders", "training-nodes", "metrics")],
        "images": [{"name": "cellassets", **image_fields(IMAGE)}],
        "replacements": yaml.safe_load((REPOSITORY / "deploy/kustomize/overlays/gke/kustomization.yaml").read_text())[
            "replacements"
        ],
        "patches": [
            {"patch": yaml.safe_dump(config_map("cellassets-environment", environment))},
            {"patch": yaml.safe_dump(config_map("cellassets-mlflow", mlflow))},
            *(
                {"target": {"kind": "Deployment", "name": f"cellassets-{name}"}, "patch": yaml.safe_dump(on_loopback)}
                for name in ("code", "mlflow")
            ),
            {"target": {"kind": "Deployment", "name": "cellassets-code"}, "patch": yaml.safe_dump(own_places)},
            {"patch": yaml.safe_dump(claim(CLAIMS[0]))},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def image_fields(image: str) -> dict[str, str]:
    """The fields of an image in a kustomization, by digest or by tag."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return {"newName": name, "digest": digest}
    name, _, tag = image.rpartition(":")
    return {"newName": name, "newTag": tag}


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def claim(name: str) -> dict[str, Any]:
    """The claim of the volume of this name."""
    spec = {
        "storageClassName": "",
        "volumeName": name,
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def volume(name: str, folder: Path) -> dict[str, Any]:
    """A folder of this machine, which is the node, as a volume."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "hostPath": {"path": str(folder)},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def secret(name: str, **values: str) -> str:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})


@pytest.fixture(scope="session")
def configs(configs, tmp_path_factory) -> Path:
    """Settings of the deployment: those of all small ones, container encoders, and short delays before retries."""
    folder = Path(shutil.copytree(configs, tmp_path_factory.mktemp("settings") / "configs"))
    policy = yaml.safe_load((folder / "policy.yaml").read_text())
    policy |= {"models": {"retired": RETIRED}, "retries": RETRIES}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    prefix = image_fields(ENCODER_IMAGE)["newName"]
    containers = {"where": "kubernetes", "image_prefixes": [prefix], "exchange": "/exchange", "poll_s": 1}
    (folder / "containers.yaml").write_text(yaml.safe_dump({**containers, "volume_claim": CLAIMS[0]}))
    return folder


@pytest.fixture(scope="session")
def volumes(cluster, tmp_path_factory) -> Iterator[dict[str, Path]]:
    """The folder of each volume that pods claim."""
    folders = {name: tmp_path_factory.mktemp(name) for name in CLAIMS}
    for name, folder in folders.items():
        folder.chmod(0o777)
        cluster.kubectl("delete", "pv", name, "--ignore-not-found")
        cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump(volume(name, folder)))
    cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump(claim(CLAIMS[1])))
    yield folders
    cluster.kubectl("delete", "pv", *folders, "--wait=false", check=False)


@pytest.fixture(scope="session")
def platform(
    cluster, postgres_server, postgres_programs, object_server, configs, volumes, tmp_path_factory
) -> Iterator[Platform]:
    """The platform, deployed and ready."""
    assert set(volumes) == set(CLAIMS)
    with ExitStack() as stack:
        store = stack.enter_context(object_server())
        for name in (BUCKET, LOG_BUCKET):
            store.make_bucket(name)
        database = stack.enter_context(postgres_server.private_postgres(postgres_programs, networks=(NETWORK,)))
        Storage(store.url).upload_folder(configs, "configs")
        passwords = {role: secrets.token_hex(12) for role in ("cellassets", "mlflow")}
        database.make_databases(passwords)
        cluster.kubectl("apply", "-f", "-", text=secret("cellassets-postgres", PGPASSWORD=passwords["cellassets"]))
        cluster.kubectl("apply", "-f", "-", text=secret("cellassets-mlflow-postgres", PGPASSWORD=passwords["mlflow"]))
        folder = overlay(
            tmp_path_factory.mktemp("overlay"),
            storage_port=int(store.url.rpartition(":")[2]),
            database_port=database.port,
        )
        cluster.kubectl("apply", "-k", str(folder))
        for name in SERVERS:
            cluster.kubectl("rollout", "status", f"deploy/cellassets-{name}", "--timeout=300s")
        port = postgres_server.free_port()
        stack.enter_context(forwarded(cluster, "deploy/cellassets-webserver", port, 3000))
        found = Platform(cluster, f"http://127.0.0.1:{port}", store, database)
        try:
            yield found
        finally:
            if "CELLASSETS_KEEP_CLUSTER" not in os.environ:
                cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=180s", check=False)


@contextmanager
def forwarded(cluster: Cluster, target: str, port: int, pod_port: int, path: str = "/server_info") -> Iterator[None]:
    """Forwards a port of this machine's loopback to a pod by kubectl, again each time the connection breaks."""
    command = ["kubectl", "-n", cluster.namespace, "port-forward", target, f"{port}:{pod_port}"]
    enough, running = threading.Event(), []

    def forward() -> None:
        while not enough.is_set():
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                running[:] = [process]
                process.wait()
            enough.wait(1)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        wait_for("the port is forwarded", lambda: answers(f"http://127.0.0.1:{port}{path}"), timeout_s=60)
        yield
    finally:
        enough.set()
        while thread.is_alive():
            for process in running:
                process.terminate()
            thread.join(1)


@pytest.fixture(scope="session")
def storage(platform) -> Storage:
    """The bucket of the platform."""
    return Storage(platform.store.url)


@pytest.fixture(scope="session")
def viewer(platform, postgres_server) -> Iterator[Platform]:
    """The platform as people see it who may only look."""
    port = postgres_server.free_port()
    with forwarded(platform.cluster, "deploy/cellassets-viewer", port, 3000):
        yield replace(platform, url=f"http://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def metrics_url(platform, postgres_server) -> Iterator[str]:
    """The address at which Prometheus would read the metrics."""
    port = postgres_server.free_port()
    with forwarded(platform.cluster, "deploy/cellassets-metrics", port, 9464, "/metrics"):
        yield f"http://127.0.0.1:{port}/metrics"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def screen_folder(design_file, tmp_path_factory) -> Path:
    """A landing zone with a screen of three experiments, and its truth beside it."""
    design = ScreenDesign.model_validate(yaml.safe_load(design_file.read_text()))
    folder = tmp_path_factory.mktemp("screen")
    write_truth(design, folder / "truth")
    write_screen(design, folder / "landing")
    return folder / "landing"


@pytest.fixture(scope="session")
def arriving(platform, storage, screen_folder):
    """The platform while that screen lands."""
    storage.upload({screen_folder.parent / "truth" / "gene_pairs.csv": "lake/annotations/planted_complexes.csv"})
    storage.upload_folder(screen_folder, "landing")
    return platform


@pytest.fixture(scope="session")
def landed(arriving):
    """The platform after that screen landed and was judged."""
    platform = arriving
    platform.wait("both models have a report", lambda: platform.reported() >= MODELS, timeout_s=REPORT_S)
    return platform
