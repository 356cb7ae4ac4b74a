"""Repairs behind the marker `_COMPLETE`: the sensor finds them and asks again, although the marker is not written."""

import os
from datetime import datetime, timedelta

import dagster as dg
import pytest
import yaml

from assets.plate_quality import plate_quality
from assets.plate_store import plate_store
from assets.raw_plates import raw_plates
from cellassets.screens import landing_readings
from cellassets.storage.deployment import Deployment
from resources.places import DeploymentResource
from sensors import live, new_experiments

IMAGE = "Plate1/B02_s1_w2.png"
TAKEN_IN = ["plate_quality", "plate_store", "raw_plates"]


class Clock(datetime):
    """The sensor's clock, which tests put forward."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.ahead


class Daemon:
    """Evaluates the sensor as the daemon does, and carries out the runs that it asks for."""

    def __init__(self, instance, resource):
        self.instance, self.resource, self.cursor = instance, resource, None

    def tick(self, *, minutes_later=0):
        Clock.ahead += timedelta(minutes=minutes_later)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"deployment": self.resource}
        ) as context:
            answer = new_experiments.new_experiments(context)
        for request in answer.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.cursor = answer.cursor
        return answer

    def carry_out(self, answer, **options):
        (request,) = answer.run_requests
        return dg.materialize(
            [raw_plates, plate_store, plate_quality],
            instance=self.instance,
            partition_key=request.partition_key,
            resources={"deployment": self.resource},
            tags={**request.tags, "dagster/run_key": request.run_key},
            selection=request.asset_selection,
            raise_on_error=False,
            **options,
        ).success

    def n_sites(self):
        """Number of sites that the newest manifest drops, and of those in the newest store."""
        lake = self.resource.open().lake
        dropped = lake.current("raw_plates", "E-1").record.summary["n_dropped"]
        return dropped, lake.current("plate_store", "E-1").record.summary["n_sites"]


def asked(answer):
    return [sorted(key.to_user_string() for key in request.asset_selection) for request in answer.run_requests or []]


@pytest.fixture
def daemon(tmp_path, policy, monkeypatch):
    configs = tmp_path / "configs"
    configs.mkdir()
    content = {
        "ingest": policy.model_dump(mode="json"),
        "landing": {"quiet_minutes": 3, "recheck_minutes": 20},
        "retries": {"first_delay_minutes": 0},
    }
    (configs / "policy.yaml").write_text(yaml.safe_dump(content))
    live._snapshots.clear()  # a code server that has just started
    monkeypatch.setattr(Clock, "ahead", timedelta(0))
    monkeypatch.setattr(new_experiments, "datetime", Clock)
    monkeypatch.setattr(landing_readings, "SETTLED_NS", -1)  # the folders were written long ago
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(instance, DeploymentResource.of(Deployment.of({}, home=tmp_path, configs=configs)))


def test_a_truncated_image_that_is_repaired_in_place_comes_in_without_the_marker(zone, daemon):
    folder = zone.land()
    whole = (folder / IMAGE).read_bytes()
    (folder / IMAGE).write_bytes(whole[:-40])
    assert daemon.carry_out(daemon.tick())
    assert daemon.n_sites() == (1, 11)
    marker = (folder / "_COMPLETE").stat().st_mtime_ns

    (folder / IMAGE).write_bytes(whole)
    assert daemon.tick(minutes_later=19).skip_reason.skip_message == "everything is there"
    told = daemon.tick(minutes_later=2).skip_reason.skip_message
    assert "landing zone, E-1: files changed after _COMPLETE was written; checked again after 3 min" in told
    answer = daemon.tick(minutes_later=3)
    assert asked(answer) == [TAKEN_IN]
    assert daemon.carry_out(answer)
    assert daemon.n_sites() == (0, 12)
    assert daemon.tick().skip_reason.skip_message == "everything is there"
    assert (folder / "_COMPLETE").stat().st_mtime_ns == marker


def test_an_image_removed_behind_the_marker_is_missed_at_once(zone, daemon):
    folder = zone.land()
    assert daemon.carry_out(daemon.tick())
    (folder / IMAGE).unlink()
    assert "files changed after _COMPLETE" in daemon.tick().skip_reason.skip_message
    assert daemon.carry_out(daemon.tick(minutes_later=3))
    assert daemon.n_sites() == (1, 11)


def test_a_run_that_finds_another_state_than_the_sensor_is_asked_for_again_and_ends_well(zone, daemon):
    """The file is overwritten after the manifest was published; the sensor still holds its reading of before."""
    folder = zone.land()
    request = daemon.tick()
    request.run_requests[0].asset_selection[:] = [dg.AssetKey("raw_plates")]
    assert daemon.carry_out(request)
    (folder / IMAGE).write_bytes((folder / IMAGE).read_bytes() + b"more")
    store = daemon.tick(minutes_later=1)
    assert asked(store) == [["plate_quality", "plate_store"]]
    assert not daemon.carry_out(store), "the folder is no longer what the manifest describes"
    again = daemon.tick(minutes_later=1)
    assert asked(again) == [["plate_quality", "plate_store"]], "this counts as a cause that passes"
    assert not daemon.tick(minutes_later=20).run_requests
    answer = daemon.tick(minutes_later=3)
    assert asked(answer) == [TAKEN_IN]
    assert daemon.carry_out(answer)
    assert daemon.tick().skip_reason.skip_message == "everything is there"


def test_a_restarted_daemon_finds_what_changed_while_it_was_down(zone, daemon):
    folder = zone.land()
    assert daemon.carry_out(daemon.tick())
    time_before = (folder / "Plate1").stat().st_mtime_ns
    (folder / IMAGE).write_bytes(b"damaged meanwhile")
    os.utime(folder / "Plate1", ns=(time_before, time_before))
    live._snapshots.clear()
    assert "files changed after _COMPLETE" in daemon.tick().skip_reason.skip_message


def test_names_that_cannot_be_experiments_are_named_in_the_tick(zone, daemon):
    zone.land("HUVEC-1")
    zone.land("huvec-1")
    zone.land("HUVEC 1")
    answer = daemon.tick()
    assert [request.partition_key for request in answer.run_requests] == ["HUVEC-1"]
    assert daemon.carry_out(answer)
    told = daemon.tick().skip_reason.skip_message
    assert "landing zone, HUVEC 1: ignored: the name cannot be a partition key: rename the folder" in told
    assert "landing zone, huvec-1: ignored: its name and that of HUVEC-1 differ in letter case alone" in told
    assert daemon.instance.get_dynamic_partitions("experiment") == ["HUVEC-1"]
