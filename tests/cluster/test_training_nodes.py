"""A training on two pods: the run's own and one of its Job. One is lost, and the next run goes on with two others."""

import re

import pytest
import yaml

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
N_EPOCHS = 40
INPUTS = ("plate_store/HUVEC-1", "plate_store/HUVEC-2")
STATE = re.compile(r"lake/data/checkpoint/nodes/.*/training/states/(?P<attempt>\d{6})-(?P<epoch>\d{5})-.*")
LABEL = "cellassets/training"


def states(platform) -> list[tuple[int, int]]:
    """The attempt and the epoch of every state that was ever stored, in this order."""
    stored = [one.name for one in platform.store.requests if one.operation == "insert" and one.status == 200]
    found = [match for name in stored if (match := STATE.fullmatch(name))]
    return [(int(match["attempt"]), int(match["epoch"])) for match in found]


def trainings(platform) -> list[dict]:
    """The runs that train the recipe, oldest first."""
    runs = platform.runs(asset="checkpoint")
    return [run for run in reversed(runs) if run["tags"].get("dagster/partition") == "nodes"]


@pytest.fixture(scope="module")
def lost(arriving, storage, configs, tmp_path_factory):
    """The pod of a node that was deleted in the middle of the training."""
    arriving.wait("the images are stored", lambda: all(stored(arriving, name) for name in INPUTS), timeout_s=1500)
    recipe = yaml.safe_load((configs / "recipes" / "tiny_network.yaml").read_text())
    recipe |= {"n_epochs": N_EPOCHS, "devices": {"n_nodes": 2, "accelerator": "cpu"}}
    path = tmp_path_factory.mktemp("recipes") / "nodes.yaml"
    path.write_text(yaml.safe_dump(recipe))
    storage.upload({path: "configs/recipes/nodes.yaml"})
    arriving.wait("some epochs are stored", lambda: len(states(arriving)) >= 2, timeout_s=900)
    [pod] = arriving.cluster.get("pods", "-l", LABEL)
    arriving.cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    return pod


def stored(platform, address: str) -> bool:
    return bool(platform.objects(f"lake/records/{address}/"))


def test_the_node_is_like_the_pod_of_the_run_and_has_no_token(lost, arriving):
    assert lost["metadata"]["labels"]["app.kubernetes.io/component"] == "run"
    [owner] = lost["metadata"]["ownerReferences"]
    assert owner["kind"] == "Job"
    pod = lost["spec"]
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert not [mount for mount in container["volumeMounts"] if "serviceaccount" in mount["mountPath"]]
    assert {"secretRef": {"name": "cellassets-postgres"}} not in container["envFrom"]
    [first] = arriving.cluster.pods_of_run(trainings(arriving)[0]["runId"])
    own = first["spec"]["containers"][0]
    for name in ("image", "resources", "securityContext"):
        assert container[name] == own[name]


def test_the_run_names_the_lost_node_and_the_next_one_goes_on_after_the_last_epoch(lost, arriving):
    arriving.wait("the training ends", lambda: stored(arriving, "checkpoint/nodes"), timeout_s=1200)
    first, *_, last = trainings(arriving)
    arriving.wait("the last run ends", lambda: arriving.status(last["runId"]) == "SUCCESS", timeout_s=120)
    assert arriving.status(first["runId"]) == "FAILURE"
    name = lost["metadata"]["name"]
    assert re.search(rf"nodes: the node in the pod {name} (is|failed)", arriving.events(first["runId"]))
    before = [epoch for attempt, epoch in states(arriving) if attempt == 1]
    after = [epoch for attempt, epoch in states(arriving) if attempt > 1]
    assert 0 < before[-1] < N_EPOCHS, "it was lost in the middle"
    assert after[0] == before[-1] + 1, "the next attempt went on after the last state in the lake"
    assert after[-1] == N_EPOCHS
    summary = arriving.record("checkpoint/nodes")["summary"]
    assert 0 <= summary["validation_accuracy"] <= 1
    arriving.wait("no pod is left", lambda: not arriving.cluster.get("pods", "-l", LABEL), timeout_s=120)
    assert not arriving.cluster.get("jobs", "-l", LABEL)
