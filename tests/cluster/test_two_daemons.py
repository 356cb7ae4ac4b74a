"""A container encoder is registered while two daemons run: runs in the cluster start its pods, and all is done once."""

import os
from collections import Counter

import pytest
import yaml

from cellassets.reconcile.work import map_chain

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
MODEL, OTHER = "moments.v1", "classical.v1"
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
BATCH_SIZE = 60
DUPLICATE, RUN_KEY, SENSOR = "cellassets/duplicate_of", "dagster/run_key", "dagster/sensor_name"


def daemons(platform) -> list[str]:
    """The names of the daemon's pods that are ready."""
    pods = platform.cluster.get("pods", "-l", "app.kubernetes.io/component=daemon")
    return [
        pod["metadata"]["name"]
        for pod in pods
        if all(status["ready"] for status in pod["status"].get("containerStatuses", [{"ready": False}]))
    ]


@pytest.fixture(scope="module")
def two_daemons(landed):
    """The platform with two daemons, each of which evaluates sensors."""

    def scale(n_daemons):
        landed.cluster.kubectl("scale", "deploy/cellassets-daemon", f"--replicas={n_daemons}")
        landed.wait(f"{n_daemons} daemons", lambda: len(daemons(landed)) == n_daemons, timeout_s=300)

    scale(2)
    try:
        for name in daemons(landed):
            landed.wait(
                f"{name} evaluates sensors",
                lambda name=name: "Checking for new runs for sensor" in landed.cluster.kubectl("logs", name),
                timeout_s=300,
            )
        yield landed
    finally:
        scale(1)


@pytest.fixture(scope="module")
def encoded(two_daemons, repository, before):
    """The platform after a container encoder was registered, from a pod, and everything that follows was made."""
    assert before
    declared = yaml.safe_load((repository / "examples" / "container_encoder" / "moments.yaml").read_text())
    for name in ("local_command", "files"):
        del declared[name]
    running = {"batch_size": BATCH_SIZE, "n_cores": 0.2, "memory_gib": 0.5}
    declared |= {"image": image_of_encoders(), "running": running}
    for command, text in (
        ("cat >/tmp/moments.yaml && cellassets model register /tmp/moments.yaml", declared),
        (f"cat >/tmp/trained_on.yaml && cellassets model declare {MODEL} /tmp/trained_on.yaml", {"experiments": []}),
    ):
        in_pod = ("exec", "-i", "deploy/cellassets-code", "--", "sh", "-c", command)
        two_daemons.cluster.kubectl(*in_pod, text=yaml.safe_dump(text))
    two_daemons.wait(
        f"{MODEL} has a report with a map",
        lambda: MODEL in two_daemons.reported(),
        timeout_s=1200,
    )
    two_daemons.wait_for_runs(timeout_s=300)
    return two_daemons


def image_of_encoders() -> str:
    """The image of examples/container_encoder, by digest."""
    found = os.environ.get("CELLASSETS_TEST_ENCODER_IMAGE", "")
    assert "@sha256:" in found, "CELLASSETS_TEST_ENCODER_IMAGE must name the image of examples/container_encoder"
    return found


@pytest.fixture(scope="module")
def before(landed):
    """The runs that were there before."""
    return {run["runId"] for run in landed.runs()}


def asked(platform, before) -> list[dict]:
    """The runs that sensors have asked for since, without those that were cancelled as duplicates."""
    runs = [run for run in platform.runs() if run["runId"] not in before and SENSOR in run["tags"]]
    print(f"{len(runs)} runs, {sum(DUPLICATE in run['tags'] for run in runs)} of them cancelled as duplicates")
    return [run for run in runs if DUPLICATE not in run["tags"]]


def test_with_two_daemons_each_partition_is_asked_for_and_published_once(encoded, before):
    runs = asked(encoded, before)
    once = Counter((run["tags"][SENSOR], run["tags"][RUN_KEY]) for run in runs if not run["parentRunId"])
    assert once
    assert set(once.values()) == {1}
    others = [f"{run}\n{encoded.events(run['runId'])}" for run in runs if run["status"] != "SUCCESS"]
    assert not others, "\n\n".join(others)
    addresses = [f"site_embeddings/{experiment}/{MODEL}" for experiment in EXPERIMENTS]
    made = [asset for asset in map_chain() if encoded.objects(f"lake/records/{asset}/HUVEC/{OTHER}/")]
    assert {"perturbation_map", "map_clusters"} <= set(made)
    addresses += [f"{asset}/HUVEC/{MODEL}" for asset in made]
    assert {address: len(encoded.objects(f"lake/records/{address}/")) for address in addresses} == dict.fromkeys(
        addresses, 1
    )


def test_runs_in_the_cluster_start_the_pods_of_an_encoder_and_delete_them(encoded, before):
    runs = [run for run in asked(encoded, before) if "site_embeddings" in run["assets"]]
    assert runs
    for run in runs:
        [pod] = encoded.cluster.pods_of_run(run["runId"])
        assert pod["spec"]["serviceAccountName"] == "cellassets-embed"
        assert pod["spec"]["volumes"]
        assert "measured 6" in encoded.events(run["runId"]), "the encoder reports its progress to the run"
    for experiment in EXPERIMENTS:
        summary = encoded.record(f"site_embeddings/{experiment}/{MODEL}")["summary"]
        assert summary["n_parts"] == -(-summary["n_sites"] // BATCH_SIZE) > 1
    assert not encoded.cluster.get("pods", "-l", "cellassets/batch"), "no pod of an encoder is left"
