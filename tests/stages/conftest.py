"""Deployments to carry stages out in, and what every stage is held to."""

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cellassets.registry import Registry
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.stage import Context
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

EXPERIMENTS = ("HUVEC-1", "HUVEC-2")


@dataclass(frozen=True)
class Place:
    """A deployment in one folder."""

    home: Path

    @property
    def deployment(self):
        return Deployment.of({}, home=self.home, configs=self.home / "configs")

    @property
    def lake(self):
        return self.deployment.lake

    @property
    def registry(self):
        return Registry(self.deployment.tracking_uri, self.deployment.model_root)

    def set(self, name, values):
        """Writes a settings file."""
        path = self.home / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values))

    def make(self, name, *keys, **options):
        """Returns what a stage publishes at some keys."""
        stage = stage_named(name)
        return carry_out(stage, self.deployment, stage.by_axis(keys), **options)

    def plan(self, name, *keys):
        """Returns the plan of a stage now."""
        stage = stage_named(name)
        return stage.plan(open_snapshot(self.deployment), stage.by_axis(keys))

    def copy(self, home):
        """Returns a deployment of its own with the same content."""
        shutil.copytree(self.home, home)
        return Place(home)


@pytest.fixture
def zone(zone, tmp_path):
    """The landing zone of `place`."""
    return type(zone)(tmp_path / "home" / "landing")


@pytest.fixture
def place(tmp_path, policy):
    """A deployment whose landing zone is `zone`."""
    made = Place(tmp_path / "home")
    made.set("policy.yaml", {"ingest": policy.model_dump(mode="json")})
    return made


@pytest.fixture(scope="session")
def screened(made_once, empty_home, save_network):
    """Two experiments of a simulated screen, stored and judged; in the registry random.v1 (6 channels), four.v1 (4)."""

    def make(folder):
        home = folder / "home"
        shutil.copytree(empty_home, home)
        made = Place(home)
        made.set("policy.yaml", {})
        write_screen(tiny_design(image_size=64, n_sites_per_well=2), home / "landing", experiment_ids=list(EXPERIMENTS))
        for experiment_id in EXPERIMENTS:
            for name in ("raw_plates", "plate_store", "plate_quality"):
                made.make(name, experiment_id)
        tags = {"kind": "network"}
        made.registry.register(save_network(home / "six"), name="random", run_id=None, tags=tags)
        made.registry.register(save_network(home / "four", n_channels=4), name="four", run_id=None, tags=tags)

    return Place(made_once("screened", make) / "home")


@pytest.fixture
def screen(screened, tmp_path):
    """The screen in a deployment of this test's own."""
    return screened.copy(tmp_path / "home")


@pytest.fixture
def made_from_pins(tmp_path):
    """Holds a stage to point 2: what is published while it works changes nothing about what it makes.

    `made_from_pins(place, name, keys, publish)` plans, calls `publish`, makes by the plan, and compares with what an
    untouched copy of the deployment makes. Returns what the stage makes afterwards, by a new plan.
    """

    def check(place, name, keys, publish, *, ignored=()):
        def compared(record):
            return [entry for entry in record.files if entry.name not in ignored]

        stage = stage_named(name)
        expected = place.copy(tmp_path / "untouched").make(name, *keys).record
        plan = stage.plan(open_snapshot(place.deployment), stage.by_axis(tuple(keys)))
        publish()
        record = stage.make(Context(place.deployment), plan)
        assert record.plan_fingerprint == record.fingerprint == plan.fingerprint == expected.fingerprint
        assert compared(record) == compared(expected)
        place.lake.artifact(name, *keys).verify(record)
        after = place.make(name, *keys).record
        assert after.fingerprint != record.fingerprint, "the newer inputs make it out of date"
        assert compared(after) != compared(record), "the newer inputs make other content"
        return after

    return check


@pytest.fixture
def made_once_by_two():
    """Holds a stage to one record when two threads make one plan at once; returns the record."""

    def check(place, name, *keys):
        stage = stage_named(name)
        plan = stage.plan(open_snapshot(place.deployment), stage.by_axis(tuple(keys)))
        barrier, found = threading.Barrier(2), []

        def make():
            barrier.wait()
            try:
                found.append(stage.make(Context(place.deployment), plan))
            except BaseException as error:  # noqa: BLE001  whatever it is, the test must see it
                found.append(error)

        threads = [threading.Thread(target=make) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        first, second = found
        assert first == second
        artifact = place.lake.artifact(name, *keys)
        assert [path.name for path in artifact.records.iterdir()] == ["000001.json"]
        artifact.verify(first)
        return first

    return check
