"""A training whose pod is preempted, a kubelet that stops, and a full disk: the work is done once, as if nothing was.

The training is preempted and its second pod outlives the kubelet while another recipe finds its disk full.
"""

import os
import re
import shlex
import subprocess
import threading
from dataclasses import dataclass, field

import pytest
import yaml

from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
N_EPOCHS = 30
STATE = re.compile(r"lake/.*/training/states/(?P<attempt>\d{6})-(?P<epoch>\d{5})-[0-9a-f]{8}\.safetensors")
DISK_KIB, RAISED_KIB = 64, 4096
RESTART = "CELLASSETS_TEST_KUBELET_RESTART"


@pytest.fixture(scope="module")
def recipes(configs):
    """The settings of a deployment with one more recipe of each kind."""
    training = yaml.safe_load((configs / "recipes" / "tiny_network.yaml").read_text())
    cheap = yaml.safe_load((configs / "recipes" / "classical.yaml").read_text())
    for name, recipe in {"preempted": {**training, "n_epochs": N_EPOCHS}, "scarce": cheap}.items():
        (configs / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return configs


def states(platform) -> list[tuple[int, int]]:
    """The attempt and the epoch of every state of a training that was ever stored, in this order."""
    names = [
        request.name for request in platform.store.requests if request.operation == "insert" and request.status == 200
    ]
    found = [match for name in names if (match := STATE.fullmatch(name)) and "/preempted/" in name]
    return [(int(match["attempt"]), int(match["epoch"])) for match in found]


def trainings(platform) -> list[dict]:
    """The runs that train, oldest first."""
    runs = platform.runs(asset="checkpoint")
    return [run for run in reversed(runs) if run["tags"].get("dagster/partition") == "preempted"]


def containers(platform, run) -> list[tuple[str, int]]:
    """Identifier and number of restarts of the containers of a run."""
    pods = platform.cluster.pods_of_run(run["runId"])
    found = [status for pod in pods for status in pod["status"].get("containerStatuses", ())]
    return [(status["containerID"], status["restartCount"]) for status in found]


@dataclass
class Interference(threading.Thread):
    """Deletes the first pod of the training in the middle, and restarts the kubelet under the second one."""

    platform: object
    error: BaseException | None = None
    preempted: dict = field(default_factory=dict)
    containers: list = field(default_factory=list)
    asked_meanwhile: str = ""
    states_before: int = 0
    states_after: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        try:
            self.preempt()
            if RESTART in os.environ:
                self.restart_kubelet()
        except BaseException as error:  # noqa: BLE001  the tests raise it
            self.error = error

    def preempt(self) -> None:
        self.platform.wait("the first states are in the lake", lambda: len(states(self.platform)) >= 3, timeout_s=600)
        [run] = trainings(self.platform)
        [pod] = self.platform.cluster.pods_of_run(run["runId"])
        self.platform.cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
        self.preempted = {"run": run["runId"], "pod": pod["metadata"]["name"]}

    def restart_kubelet(self) -> None:
        self.platform.wait("the second attempt has a state", lambda: states(self.platform)[-1][0] == 2, timeout_s=600)
        run = trainings(self.platform)[-1]
        self.containers = containers(self.platform, run)
        self.states_before = len(states(self.platform))
        self.asked_meanwhile = self.platform.launch("leaderboard")  # its pod is made while there is no kubelet
        subprocess.run(shlex.split(os.environ[RESTART]), check=True, timeout=120)
        self.states_after = len(states(self.platform))


@pytest.fixture(scope="module")
def interference(landed, storage, recipes):
    """A training, and what is done to it beside the other tests of this module."""
    thread = Interference(landed)
    storage.upload({recipes / "recipes" / "preempted.yaml": "configs/recipes/preempted.yaml"})
    thread.start()
    return thread


@pytest.fixture
def full_disk(volumes):
    """A disk without space; call it to make the disk larger."""
    if os.geteuid():
        pytest.skip("only root can mount a disk of a few KiB: run as root on the node")
    folder = volumes["cellassets-scratch"]

    def mount(*options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], check=True)

    mount(f"size={DISK_KIB}k", "mode=1777")
    try:
        (folder / "filler").write_bytes(bytes(DISK_KIB << 10))
        yield lambda: mount("remount", f"size={RAISED_KIB}k")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_asked_for_again_with_growing_pauses_until_there_is_space(
    interference, full_disk, landed, storage, recipes, configs
):
    def attempts(status):
        runs = [run for run in landed.runs(asset="checkpoint") if run["tags"].get("dagster/partition") == "scarce"]
        return [run for run in reversed(runs) if run["status"] == status]

    assert interference.error is None
    storage.upload({recipes / "recipes" / "scarce.yaml": "configs/recipes/scarce.yaml"})
    landed.wait("two attempts fail", lambda: len(attempts("FAILURE")) >= 2, timeout_s=600)
    full_disk()
    [made] = landed.wait("an attempt succeeds", lambda: attempts("SUCCESS"), timeout_s=600)
    failed = attempts("FAILURE")
    otherwise = [text for run in failed if "No space left on device" not in (text := landed.events(run["runId"]))]
    assert not otherwise, "\n\n".join(otherwise)
    assert not any(run["parentRunId"] for run in [*failed, made]), "a sensor asked, not Dagster's retries"
    delays = yaml.safe_load((configs / "policy.yaml").read_text())["retries"]
    pauses = [later["startTime"] - run["endTime"] for run, later in zip(failed, [*failed[1:], made], strict=True)]
    wanted = [60 * delays["first_delay_minutes"] * delays["factor"] ** number for number in range(len(failed))]
    assert all(pause >= least for pause, least in zip(pauses, wanted, strict=True)), (pauses, wanted)
    assert len(landed.objects("lake/records/checkpoint/scarce/")) == 1
    assert [model["version"] for model in landed.models() if model["name"] == "scarce"] == ["1"]


def test_a_preempted_training_goes_on_in_another_pod_and_ends_like_an_undisturbed_one(
    interference, landed, screen_folder, recipes, tmp_path
):
    alone = {
        "CELLASSETS_HOME": str(tmp_path),
        "CELLASSETS_LANDING": str(screen_folder),
        "CELLASSETS_CONFIGS": str(recipes),
    }
    undisturbed = checkpoint_of(Deployment.of(alone))
    landed.wait(
        f"the training ends: {interference}",
        lambda: interference.error or landed.objects("lake/records/checkpoint/preempted/"),
        timeout_s=900,
    )
    interference.join(120)
    if interference.error:
        raise interference.error
    first = [epoch for attempt, epoch in states(landed) if attempt == 1]
    second = [epoch for attempt, epoch in states(landed) if attempt == 2]
    assert {attempt for attempt, _ in states(landed)} == {1, 2}
    assert 0 < first[-1] < N_EPOCHS, "it was preempted in the middle"
    assert second[0] == first[-1] + 1, "it went on after the last state in the lake"
    assert second[-1] == N_EPOCHS
    *lost, made = trainings(landed)
    assert [run["runId"] for run in lost] == [interference.preempted["run"]]
    assert (lost[0]["status"], made["status"]) == ("FAILURE", "SUCCESS")
    [pod] = landed.cluster.pods_of_run(made["runId"])
    assert pod["metadata"]["name"] != interference.preempted["pod"]
    [name] = landed.objects("lake/records/checkpoint/preempted/")
    assert name, "published once"
    in_pods = {file["name"]: file["crc32c"] for file in landed.record("checkpoint/preempted")["files"]}
    assert in_pods["weights.safetensors"] == undisturbed["weights.safetensors"]
    assert [model["version"] for model in landed.models() if model["name"] == "preempted"] == ["1"]


def checkpoint_of(deployment) -> dict[str, str]:
    """The checksums of the files of a training on this machine, with as many threads as in a pod."""
    import torch

    for experiment in ("HUVEC-1", "HUVEC-2"):
        for kind in ("raw_plates", "plate_store"):
            carry_out(stage_named(kind), deployment, {"experiment": experiment})
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = carry_out(stage_named("checkpoint"), deployment, {"recipe": "preempted"}).record
    finally:
        torch.set_num_threads(n_threads)
    return {file.name: file.crc32c for file in record.files}


@pytest.mark.skipif(RESTART not in os.environ, reason=f"{RESTART} names no command that restarts the kubelet")
def test_a_run_outlives_a_kubelet_that_stops_and_one_asked_for_meanwhile_is_done(interference, landed):
    landed.wait(
        f"the kubelet was restarted: {interference}",
        lambda: interference.error or interference.states_after,
        timeout_s=900,
    )
    if interference.error:
        raise interference.error
    assert interference.states_after > interference.states_before, "the container trains while there is no kubelet"
    assert interference.states_after < len(states(landed)), "and afterwards"
    made = trainings(landed)[-1]
    landed.wait("the training ends", lambda: landed.status(made["runId"]) == "SUCCESS", timeout_s=300)
    assert containers(landed, made) == interference.containers, "no container was started again"
    asked = interference.asked_meanwhile
    landed.wait("the run asked for meanwhile ends", lambda: landed.status(asked) == "SUCCESS", timeout_s=300)
    assert not [run for run in landed.runs() if run["parentRunId"] in (asked, made["runId"])]
