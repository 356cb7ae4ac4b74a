"""`cellassets work`: what is missing, failed or waiting, and asking for it again."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import plate_agenda
from cellassets.stages.catalogue import stages
from cellassets.storage.deployment import Deployment
from sensors.attempts import PARDON_TAG, work_tag
from sensors.work_list import look_at_landing

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def failed_home(tmp_path):
    """A home with two landed experiments; the first one failed three times, the second one was cancelled."""
    for name in ("E-1", "E-2"):
        folder = tmp_path / "landing" / name
        folder.mkdir(parents=True)
        (folder / "_COMPLETE").touch()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "policy.yaml").write_text("retries: {max_attempts: 3}\n")
    (tmp_path / "deployment.yaml").write_text("configs: configs\n")
    (tmp_path / "dagster").mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path / "dagster")
    snapshot = LiveSnapshot(Deployment.of({}, home=tmp_path), stages())
    snapshot.refresh()
    look_at_landing(snapshot)
    first, second = plate_agenda(snapshot).work
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        for item, partition in ((first, "E-1"), (first, "E-1"), (first, "E-1"), (second, "E-2")):
            names = frozenset(dg.AssetKey(name) for name in item.assets)
            run = dg.DagsterRun(
                "job",
                status=dg.DagsterRunStatus.STARTED,
                asset_selection=names,
                tags={"dagster/partition": partition, "dagster/max_retries": "0", **work_tag([item])},
            )
            instance.add_run(run)
            instance.report_run_canceled(run) if partition == "E-2" else instance.report_run_failed(run, "disk is full")
    return tmp_path


def listed(run, home, *options):
    return {entry["partition"]: entry for entry in json.loads(run("work", "list", "--home", home, "--json", *options))}


def test_failed_work_is_listed_with_its_reason(failed_home, run):
    found = listed(run, failed_home)
    assert (found["E-1"]["state"], found["E-1"]["n_attempts"]) == ("failed", 3)
    assert found["E-1"]["reason"].endswith("disk is full")
    assert (found["E-2"]["state"], found["E-2"]["n_attempts"]) == ("retrying", 1)
    assert list(listed(run, failed_home, "--state", "failed")) == ["E-1"]
    assert "1 failed" in run("work", "list", "--home", failed_home)


def test_status_says_what_failed_for_good(failed_home, run):
    said = run("status", "--home", failed_home)
    assert "What was refused or has failed (`cellassets work list`):\n- " in said
    assert "of E-1: failed: " in said
    assert "disk is full" in said
    assert "E-2: failed" not in said, "it is asked for again by itself"


def test_status_needs_no_dagster(failed_home, run):
    shutil.rmtree(failed_home / "dagster")
    assert "0 of 2" in run("status", "--home", failed_home)


def test_what_cannot_be_asked_for_again_is_an_error(failed_home, call, refused):
    assert call("work", "retry", "plate_stoer", "--home", failed_home).status == 2
    told = refused("work", "retry", "plate_store", "E-9", "--home", failed_home)
    assert "plate_store of E-9 was not refused and has not failed" in told
    assert call("work", "retry", "leaderboard", "--home", failed_home).status == 0


def test_work_is_asked_for_again_by_asset_and_partition(failed_home, run):
    assert run("work", "retry", "plate_store", "E-1", "--home", failed_home).startswith("raw_plates of E-1\n1 to be")
    assert {key: entry["state"] for key, entry in listed(run, failed_home).items() if key} == {
        "E-1": "missing",
        "E-2": "retrying",
    }
    assert json.loads(run("work", "retry", "--home", failed_home, "--json")) == ["raw_plates of E-2"]
    with dg.DagsterInstance.from_config(str(failed_home / "dagster")) as instance:
        assert all(one.tags[PARDON_TAG] == one.run_id for one in instance.get_runs())


def test_a_home_without_dagster_is_named(failed_home, refused):
    (failed_home / "dagster" / "dagster.yaml").unlink()
    assert "no Dagster instance" in refused("work", "list", "--home", failed_home)


def test_an_unknown_state_is_wrong_usage(failed_home, call):
    assert call("work", "list", "--state", "broken", "--home", failed_home).status == 2
