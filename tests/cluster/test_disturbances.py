"""A new experiment while everything is disturbed: nothing is lost, nothing done twice, and the result is the same."""

import random
import threading
import time

import pytest
import yaml

from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import write_screen

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]
NEW = "HUVEC-3"
PAUSE_S = 20.0
OUTAGE_S = 20.0


@pytest.fixture(scope="module")
def screen(design_file, tmp_path_factory):
    """A landing zone with one more experiment of the screen that has landed already."""
    values = yaml.safe_load(design_file.read_text())
    values["cell_types"][0]["n_experiments"] = 3
    folder = tmp_path_factory.mktemp("wider") / "landing"
    write_screen(ScreenDesign.model_validate(values), folder, experiment_ids=[NEW])
    return folder


class Disturber(threading.Thread):
    """Breaks one part of the platform after the other until it is told to stop; says what it did."""

    def __init__(self, platform, seed: int) -> None:
        super().__init__(daemon=True)
        self.platform, self.choose, self.done, self.enough = platform, random.Random(seed), [], threading.Event()

    def run(self) -> None:
        actions = [
            self.lose_a_run,
            self.lose_the_daemon,
            self.restart_postgres,
            self.stop_the_store,
            self.stop_mlflow,
            self.lose_the_code,
        ]
        while not self.enough.wait(PAUSE_S):
            order = (
                self.choose.sample(actions, len(actions))
                if not self.done
                else [self.choose.choice([*actions, self.lose_a_run])]
            )
            for action in order:
                self.done.append((action.__name__, action()))
                if self.enough.wait(PAUSE_S):
                    return

    def lose_a_run(self) -> str:
        pods = self.platform.cluster.get(
            "pods", "-l", "app.kubernetes.io/component=run", "--field-selector=status.phase=Running"
        )
        if not pods:
            return "none runs"
        name = self.choose.choice(pods)["metadata"]["name"]
        self.platform.cluster.kubectl("delete", "pod", name, "--grace-period=0", "--force", check=False)
        return name

    def lose_the_daemon(self) -> str:
        return self._lose("daemon")

    def lose_the_code(self) -> str:
        return self._lose("code")

    def _lose(self, part: str) -> str:
        return self.platform.cluster.kubectl(
            "delete", "pods", "-l", f"app.kubernetes.io/component={part}", "--grace-period=0", "--force", check=False
        )

    def restart_postgres(self) -> str:
        self.platform.database.restart()
        return "restarted"

    def stop_the_store(self) -> str:
        self.platform.store.fault = lambda _operation, _name: 503
        time.sleep(OUTAGE_S)
        self.platform.store.fault = lambda _operation, _name: None
        return f"answered 503 for {OUTAGE_S:.0f} s"

    def stop_mlflow(self) -> str:
        self.platform.cluster.kubectl("scale", "deploy/cellassets-mlflow", "--replicas=0")
        time.sleep(OUTAGE_S)
        self.platform.cluster.kubectl("scale", "deploy/cellassets-mlflow", "--replicas=1")
        return f"away for {OUTAGE_S:.0f} s"


def publications(platform, address: str) -> int:
    """How often something was published at an address."""
    return len(platform.objects(f"lake/records/{address}/"))


def living(platform) -> list:
    """The pods of runs that wait or run; a pod ends some seconds after its run."""
    pods = platform.cluster.get("pods", "-l", "app.kubernetes.io/component=run")
    return [pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


def test_a_disturbed_line_ends_like_an_undisturbed_one(landed, storage, screen, configs, tmp_path):
    before = {
        model: publications(landed, f"perturbation_map/HUVEC/{model}") for model in ("classical.v1", "tiny_network.v1")
    }
    storage.upload_folder(screen / NEW, f"landing/{NEW}")
    disturber = Disturber(landed, seed=1)
    disturber.start()
    try:
        landed.wait(
            f"the maps with {NEW} are published; disturbances: {disturber.done}",
            lambda: all(publications(landed, f"perturbation_map/HUVEC/{model}") > n for model, n in before.items()),
            timeout_s=1500,
        )
    finally:
        disturber.enough.set()
        disturber.join(120)
    assert {name for name, _ in disturber.done} >= {"lose_a_run", "restart_postgres", "stop_the_store", "stop_mlflow"}
    landed.wait_for_runs(timeout_s=900, explain=f"; disturbances: {disturber.done}")
    for kind in ("raw_plates", "plate_store", "plate_quality"):
        assert publications(landed, f"{kind}/{NEW}") == 1, kind
    for model, n in before.items():
        assert publications(landed, f"site_embeddings/{NEW}/{model}") == 1
        assert publications(landed, f"perturbation_map/HUVEC/{model}") == n + 1
    landed.wait("all pods of runs end: none holds a GPU", lambda: not living(landed), timeout_s=180)

    alone = Deployment.of(
        {"CELLASSETS_LANDING": str(screen), "CELLASSETS_HOME": str(tmp_path), "CELLASSETS_CONFIGS": str(configs)}
    )
    for kind in ("raw_plates", "plate_store", "plate_quality"):
        undisturbed = carry_out(stage_named(kind), alone, {"experiment": NEW}).record
        disturbed = landed.record(f"{kind}/{NEW}")
        assert disturbed["fingerprint"] == undisturbed.fingerprint, kind
        files = {file["name"]: file["crc32c"] for file in disturbed["files"]}
        assert files == {file.name: file.crc32c for file in undisturbed.files}, kind


def test_two_people_who_ask_for_one_partition_get_one_publication(landed):
    first, second = (landed.launch("plate_quality", "HUVEC-1") for _ in range(2))
    for run_id in (first, second):
        landed.wait("the run ends", lambda run_id=run_id: landed.status(run_id) == "SUCCESS", timeout_s=300)
    assert publications(landed, "plate_quality/HUVEC-1") == 1
