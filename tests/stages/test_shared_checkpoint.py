"""A recipe for two processes: trained like one of one process, continued after a kill, and nothing is left of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from cellassets.errors import ProcessLost, RecipeError
from cellassets.progress import no_progress
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.checkpoint import curves
from cellassets.stages.stage import Context
from cellassets.storage.lake import Published
from cellassets.training.checkpoint import load_network
from cellassets.training.processes.agent import command

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48},
    "optimiser": {"name": "sgd", "learning_rate": 0.02},
    "n_epochs": 3,
}
NAMES = ("one", "two", "killed", "left", "nodes")
TWO = {"devices": {"n_per_node": 2, "accelerator": "cpu"}}
RUN = """
import sys
from pathlib import Path
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
home = Path(sys.argv[1])
carry_out(stage_named("checkpoint"), Deployment.of({}, home=home, configs=home / "configs"), {"recipe": "shared"})
"""
PROCESS = b"cellassets.training.processes.process"


def train(place, progress=None, **changes):
    place.set("recipes/shared.yaml", {**NETWORK, **changes})
    published = place.make("checkpoint", "shared", **({} if progress is None else {"progress": progress}))
    return published, load_network(Path(published.folder))[0].state_dict()


def keep(began):
    return lambda *report, note="": began.append((report, note))


def processes_of(place) -> list[int]:
    """The processes that train in a deployment now."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes()
            if PROCESS in line and str(place.home).encode() in line:
                found.append(int(folder.name))
    return sorted(found)


@pytest.fixture(scope="module")
def places(screened, tmp_path_factory):
    """Deployments of their own with the same stored experiments."""
    return [screened.copy(tmp_path_factory.mktemp("places") / name) for name in NAMES]


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_after_a_kill_to_the_very_same_weights(places, monkeypatch):
    one, two, killed, *_ = places
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    alone, expected = train(one)
    shared, straight = train(two, **TWO)
    for epoch, same in zip(curves(alone), curves(shared), strict=True):
        assert same["train_loss"] == pytest.approx(epoch["train_loss"], rel=1e-4)
        assert same["validation_accuracy"] == epoch["validation_accuracy"]
    for name, weight in expected.items():
        torch.testing.assert_close(straight[name], weight, rtol=1e-3, atol=1e-4)

    victims = []

    def kill_one(*report, **_):
        if report[0] and not victims:
            victims.append(processes_of(killed)[-1])
            os.kill(victims[0], signal.SIGKILL)

    with pytest.raises(ProcessLost, match=r"shared: process [01] of 2 was killed by SIGKILL .*; the others were ended"):
        train(killed, kill_one, **TWO)
    assert not processes_of(killed)
    began = []
    again, resumed = train(killed, keep(began), **TWO)
    assert min(report[0] for report, _ in began) > 0, "it did not begin from the start"
    assert len(curves(again)) == NETWORK["n_epochs"]
    for name, weight in straight.items():
        assert torch.equal(resumed[name], weight), name


@pytest.mark.slow
def test_a_killed_run_leaves_no_process(places):
    left = places[3]
    left.set("recipes/shared.yaml", {**NETWORK, **TWO})
    run = subprocess.Popen([sys.executable, "-c", RUN, str(left.home)])
    wait_until(lambda: len(processes_of(left)) == 2)
    run.kill()
    run.wait()
    wait_until(lambda: not processes_of(left))


class SecondNode:
    """A node that is another agent on this machine: it takes part by torchrun's rendezvous."""

    address, run_id = "127.0.0.1", "test"

    def __init__(self):
        with socket.socket() as listening:
            listening.bind((self.address, 0))
            self.endpoint = f"{self.address}:{listening.getsockname()[1]}"

    @contextmanager
    def started(self, task, recipe):
        options = {"n_nodes": recipe.devices.n_nodes, "n_per_node": recipe.devices.n_per_node}
        arguments = command(task, **options, endpoint=self.endpoint, run_id=self.run_id)
        self.agent = subprocess.Popen([sys.executable, *arguments, "--address=127.0.0.2"])
        try:
            yield self
        finally:
            self.agent.kill()
            self.agent.wait()

    def check(self):
        if self.agent.poll():
            raise ProcessLost("the second node is lost")

    def explained(self, error):
        return error


def make_on_two_nodes(place, nodes, progress=no_progress):
    place.set("recipes/shared.yaml", {**NETWORK, "devices": {"n_nodes": 2, "accelerator": "cpu"}})
    stage = stage_named("checkpoint")
    context = Context(place.deployment, progress, nodes=nodes)
    return stage.make(context, stage.plan(open_snapshot(place.deployment), {"recipe": "shared"}))


@pytest.mark.slow
def test_two_nodes_find_each_other_and_the_loss_of_one_ends_the_training(places):
    place, nodes = places[4], SecondNode()

    def lose_one(*report, **_):
        if report[0] and nodes.agent.poll() is None:
            nodes.agent.kill()

    with pytest.raises(ProcessLost, match=r"second node is lost|process [01] of 2"):
        make_on_two_nodes(place, nodes, lose_one)
    assert not processes_of(place)
    record = make_on_two_nodes(place, SecondNode())
    assert len(curves(Published(place.lake.artifact("checkpoint", "shared"), record))) == NETWORK["n_epochs"]
    assert not processes_of(place)


def wait_until(holds, timeout_s=120):
    ends_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends_s
        time.sleep(0.1)


def test_more_nodes_than_there_are_is_refused(screen):
    with pytest.raises(RecipeError, match=r"shared: devices.n_nodes is 2, and only runs in a Kubernetes cluster start"):
        train(screen, devices={"n_nodes": 2, "accelerator": "cpu"})
