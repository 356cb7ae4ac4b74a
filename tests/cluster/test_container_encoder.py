"""Container encoders in pods of a real cluster, by an account with only the rights that the documentation names.

`KUBECONFIG` names the cluster, and `CELLASSETS_TEST_ENCODER_IMAGE` the image of examples/container_encoder by digest.
The nodes see the folders of this machine, so that a folder can be the volume of the batches.
"""

import importlib.util
import os
import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import yaml

from cellassets.tables.parquet import vectors
from resources import container_outcomes

_spec = importlib.util.spec_from_file_location("container_screen", Path(__file__).parents[1] / "container_screen.py")
container_screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(container_screen)
EXAMPLE, PLAIN, stored = container_screen.EXAMPLE, container_screen.PLAIN, container_screen.stored
ACCOUNT, CLAIM = "cellassets-run", "cellassets-exchange"
RIGHTS = ("--verb=create,list,delete", "--resource=pods"), ("--verb=get", "--resource=pods/log")
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.PreviewWarning"),
    pytest.mark.skipif(
        "CELLASSETS_CLUSTER_TESTS" not in os.environ, reason="needs a Kubernetes; make test-k8s starts one"
    ),
]


def kubectl(*arguments, text=None):
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image():
    assert "KUBECONFIG" in os.environ, "KUBECONFIG must name a cluster"
    found = os.environ.get("CELLASSETS_TEST_ENCODER_IMAGE", "")
    assert "@sha256:" in found, "CELLASSETS_TEST_ENCODER_IMAGE must name the image of examples/container_encoder"
    return found


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    """The folder of a volume, and the namespace of its claim."""
    folder, name = tmp_path_factory.mktemp("exchange"), f"encoders-{uuid.uuid4().hex[:8]}"
    size, modes = "1Gi", ["ReadWriteMany"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": modes,
            "storageClassName": "",
            "hostPath": {"path": str(folder)},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": name},
        "spec": {
            "accessModes": modes,
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": size}},
        },
    }
    kubectl("create", "namespace", name)
    try:
        kubectl("apply", "-f", "-", text=yaml.safe_dump_all([volume, claim]))
        yield folder, name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
        kubectl("delete", "pv", name, "--wait=false")


@pytest.fixture(scope="module")
def run_kubeconfig(exchange, tmp_path_factory):
    """A configuration whose account has the documented rights and no other."""
    _, namespace = exchange
    kubectl("-n", namespace, "create", "serviceaccount", ACCOUNT)
    for number, rights in enumerate(RIGHTS):
        kubectl("-n", namespace, "create", "role", f"{ACCOUNT}-{number}", *rights)
        bound = (f"--role={ACCOUNT}-{number}", f"--serviceaccount={namespace}:{ACCOUNT}")
        kubectl("-n", namespace, "create", "rolebinding", f"{ACCOUNT}-{number}", *bound)
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    token = kubectl("-n", namespace, "create", "token", ACCOUNT).strip()
    config["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("run") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def screen(stored, exchange, run_kubeconfig, image, tmp_path, monkeypatch):
    folder, namespace = exchange
    monkeypatch.setattr(container_outcomes, "RETRY_AFTER_S", 0)
    monkeypatch.setenv("KUBECONFIG", str(run_kubeconfig))
    shutil.copytree(stored, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        made = container_screen.Screen(tmp_path / "home", instance)
        made.allow(
            "kubernetes",
            image_prefixes=["localhost/", image.partition("@")[0]],
            exchange=str(folder),
            volume_claim=CLAIM,
            namespace=namespace,
            poll_s=0.5,
        )
        yield made
    assert not list(folder.iterdir()), "no batch is left behind"


@pytest.fixture
def pods(exchange):
    """Names of the pods of encoders that are not being deleted."""

    def pods():
        template = "{range .items[*]}{.metadata.name} {.metadata.deletionTimestamp} {.status.phase}{'\\n'}{end}"
        config = ("--kubeconfig", os.environ["ADMIN_KUBECONFIG"])
        found = kubectl(
            *config, "-n", exchange[1], "get", "pods", "-l", "cellassets/batch", "-o", f"jsonpath={template}"
        )
        return [line.split() for line in found.splitlines() if len(line.split()) == 2]

    return pods


@pytest.fixture(autouse=True, scope="module")
def _administrator():
    """Remembers the configuration that may look at everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN_KUBECONFIG", os.environ.get("KUBECONFIG", ""))
        yield


def in_pod(image, script, **changes):
    """The declaration of a shell script in the image."""
    return {"image": image, "command": ["sh", "-c", script], "n_channels": 6, "embedding_dim": 2, **changes}


def test_the_image_gives_the_vectors_of_the_program_on_a_laptop(screen, image, pods):
    declared = {**yaml.safe_load((EXAMPLE / "moments.yaml").read_text()), "image": image}
    declared["running"] |= {"batch_size": 30}
    shutil.copy(EXAMPLE / "moments.pl", screen.home)
    in_pods = screen.register("moments", declared)
    result = screen.embed(in_pods, "HUVEC-1")
    assert result.success, screen.log(result)
    n_sites = screen.store().n_sites
    assert screen.published(in_pods).record.summary["n_parts"] == -(-n_sites // 30) > 1
    log = screen.log(result)
    assert "measured 30 of 30 sites" in log
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["features_per_channel"].value == 14
    assert pods() == []
    screen.allow("local")
    on_laptop = screen.register("laptop", declared)
    assert screen.embed(on_laptop, "HUVEC-1").success
    np.testing.assert_array_equal(vectors(screen.table(in_pods)), vectors(screen.table(on_laptop)))


def test_a_pod_can_do_nothing_but_read_its_batch_and_write_its_answer(screen, image):
    script = """
        [ ! -e /var/run/secrets/kubernetes.io ] || exit 11
        [ "$(id -u)" != 0 ] || exit 12
        touch /var/tmp/x 2>/dev/null && exit 13
        touch /cellassets/input/x 2>/dev/null && exit 14
        touch /tmp/x || exit 15
        [ "$(ls /cellassets | tr '\\n' ' ')" = "input output " ] || exit 16
        [ "$(ls /cellassets/input | tr '\\n' ' ')" = "images.npy manifest.json " ] || exit 17
        grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status || exit 18
        grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status || exit 19
        env | grep -q ^KUBERNETES_SERVICE_HOST && [ -e /var/run/secrets ] && exit 20
    """
    key = screen.register("nosy", in_pod(image, script + PLAIN))
    result = screen.embed(key, "HUVEC-1")
    assert result.success, screen.log(result)


@pytest.mark.parametrize(
    ("script", "running", "message"),
    [
        ("echo broken >&2; exit 3", {}, "exit status 3; expected 0"),
        ("perl -e '$x = q(a) x 400_000_000; print length $x'", {"memory_gib": 0.05}, "OOMKilled: it needs more memory"),
        ("sleep 120", {"timeout_s": 5}, "DeadlineExceeded: it took longer than timeout_s"),
        ("exit 0", {}, "expected one of embeddings.npy and embeddings.csv"),
    ],
    ids=["exit status", "memory", "time", "no answer"],
)
def test_a_pod_that_failed_for_good_is_refused_with_the_reason(screen, image, pods, script, running, message):
    key = screen.register("failing", in_pod(image, script, running=running))
    result = screen.embed(key, "HUVEC-1")
    assert not result.success
    assert message in screen.log(result)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert screen.deployment.lake.artifact("site_embeddings", "HUVEC-1", key).find_record() is None
    assert pods() == []


def test_a_pod_that_is_deleted_is_started_again(screen, image, exchange, pods):
    key = screen.register("slow", in_pod(image, "sleep 10\n" + PLAIN))
    deleted = []

    def delete():
        end = time.monotonic() + 120
        while not deleted and time.monotonic() < end:
            deleted.extend(name for name, phase in pods() if phase == "Running")
            time.sleep(0.5)
        config = ("--kubeconfig", os.environ["ADMIN_KUBECONFIG"])
        kubectl(*config, "-n", exchange[1], "delete", "pod", *deleted, "--grace-period=1", "--wait=false")

    thread = threading.Thread(target=delete)
    thread.start()
    result = screen.embed(key, "HUVEC-1")
    thread.join()
    assert len(deleted) == 1
    assert result.success, screen.log(result)
    assert [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_an_image_from_elsewhere_starts_no_pod(screen, pods):
    key = screen.register("foreign", in_pod("evil.example/encoder@sha256:" + "0" * 64, "exit 0"))
    result = screen.embed(key, "HUVEC-1")
    assert not result.success
    assert "is not allowed here; expected one of localhost/" in screen.log(result)
    assert pods() == []
