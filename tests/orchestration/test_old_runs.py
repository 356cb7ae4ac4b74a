"""Old runs go with their events and logs; what the UI shows and the sensors remember stays, on SQLite and Postgres."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cellassets.progress import no_progress
from sensors.attempts import WORK_TAG, Attempts
from sensors.old_runs import delete_runs, old_runs, oldest_unfinished

KEY = dg.AssetKey("plate_store")
BAD = {"value": False}
PARTITIONS = dg.DynamicPartitionsDefinition(name="experiment")


@dg.asset(
    name="plate_store",
    partitions_def=PARTITIONS,
    check_specs=[dg.AssetCheckSpec("is_whole", asset=KEY)],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def plate_store(context: dg.AssetExecutionContext):
    """An asset that fails when it is told to."""
    print("to the compute log")
    if BAD["value"]:
        raise dg.Failure("refused", allow_retries=False)
    return dg.MaterializeResult(
        metadata={"n": len(context.partition_keys)}, check_results=[dg.AssetCheckResult(passed=True)]
    )


@dg.asset(name="leaderboard")
def leaderboard():
    """An asset without partitions."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def instance(request, tmp_path):
    settings = {"telemetry": {"enabled": False}}
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        settings["storage"] = {"postgres": {"postgres_url": new_database(url)}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        opened.add_dynamic_partitions("experiment", ["E-1", "E-2", "E-3"])
        yield opened


def new_database(url):
    from sqlalchemy import create_engine

    name = f"dagster_{secrets.token_hex(6)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"{url.rpartition('/')[0]}/{name}"


def make(instance, partition, *, is_bad=False, **tags):
    BAD["value"] = is_bad
    asset = leaderboard if partition is None else plate_store
    result = dg.materialize(
        [asset], instance=instance, partition_key=partition, tags=tags or None, raise_on_error=False
    )
    assert result.success != is_bad
    return result.run_id


def reasons(instance, before=None):
    found = old_runs(instance, before or datetime.now(UTC) + timedelta(seconds=5))
    return {run.run_id: run.reason for run in found}


def prune(instance, before=None):
    return delete_runs(instance, old_runs(instance, before or datetime.now(UTC) + timedelta(seconds=5)))


def latest(instance):
    ids = instance.get_latest_storage_id_by_partition(KEY, dg.DagsterEventType.ASSET_MATERIALIZATION)
    events = instance.fetch_materializations(KEY, limit=100).records
    by_id = {event.storage_id: event for event in events}
    return {
        key: (by_id[number].run_id, dict(by_id[number].asset_materialization.metadata)) for key, number in ids.items()
    }


def test_only_runs_whose_partitions_were_made_since_go(instance):
    first, second = make(instance, "E-1"), make(instance, "E-1")
    other, board, newer_board = make(instance, "E-2"), make(instance, None), make(instance, None)
    assert reasons(instance) == {
        first: "",
        second: "made the latest materialisation of plate_store of E-1",
        other: "made the latest materialisation of plate_store of E-2",
        board: "",
        newer_board: "made the latest materialisation of leaderboard",
    }
    shown = latest(instance)
    check = instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, "is_whole")])
    assert prune(instance) == 2
    assert {run.run_id for run in instance.get_runs()} == {second, other, newer_board}
    assert latest(instance) == shown
    assert (
        instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, "is_whole")]) == check
    )
    assert instance.get_materialized_partitions(KEY) == {"E-1", "E-2"}
    assert first not in {event.run_id for event in instance.fetch_materializations(KEY, limit=100).records}
    assert prune(instance) == 0


def test_younger_runs_are_not_looked_at(instance):
    old = make(instance, "E-1")
    time.sleep(0.05)
    between = datetime.now(UTC)
    make(instance, "E-1")
    middle = make(instance, "E-1")
    assert reasons(instance, between) == {old: ""}
    assert prune(instance, between) == 1
    assert middle in {run.run_id for run in instance.get_runs()}


def test_what_failed_stays_until_its_partition_was_made(instance):
    failed = make(instance, "E-1", is_bad=True, **{WORK_TAG: "abc"})
    reason = "ended without success, and plate_store of E-1 was not made since"
    assert reasons(instance) == {failed: reason}
    assert prune(instance) == 0
    assert [one.run.run_id for one in Attempts().refresh(instance).of_token("abc")] == [failed]
    make(instance, "E-2")
    assert reasons(instance)[failed] == reason
    make(instance, "E-1")
    assert reasons(instance)[failed] == ""
    again = make(instance, "E-1", is_bad=True)
    assert reasons(instance)[again] == reason, "an earlier success does not answer it"


def test_a_run_of_several_partitions_stays_as_long_as_one_of_them_needs_it(instance):
    tags = {"dagster/asset_partition_range_start": "E-1", "dagster/asset_partition_range_end": "E-3"}
    BAD["value"] = False
    shared = dg.materialize([plate_store], instance=instance, tags=tags).run_id
    for partition in ("E-1", "E-3"):
        make(instance, partition)
    assert reasons(instance)[shared] == "made the latest materialisation of plate_store of E-2"
    BAD["value"] = True
    failed = dg.materialize([plate_store], instance=instance, tags=tags, raise_on_error=False).run_id
    for partition in ("E-1", "E-3"):
        make(instance, partition)
    assert reasons(instance)[failed] == "ended without success, and plate_store of E-2 was not made since"
    make(instance, "E-2")
    assert (reasons(instance)[shared], reasons(instance)[failed]) == ("", "")


def test_a_run_in_progress_is_never_touched_and_protects_what_it_may_read(instance):
    assert oldest_unfinished(instance) is None
    run = dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset([KEY]))
    instance.add_run(run)
    instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTING))
    found = oldest_unfinished(instance)
    assert found[0] == run.run_id
    assert abs(found[1].timestamp() - time.time()) < 60
    assert reasons(instance) == {}


def test_the_runs_of_an_unfinished_backfill_stay(instance):
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    first = make(instance, "E-1", **{"dagster/backfill": "b"})
    make(instance, "E-1")
    backfill = PartitionBackfill(
        backfill_id="b", status=BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=time.time()
    )
    instance.add_backfill(backfill)
    assert reasons(instance)[first] == "its backfill is not finished"
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert reasons(instance)[first] == ""


def test_compute_logs_and_event_files_of_deleted_runs_go(instance):
    first, second = make(instance, "E-1"), make(instance, "E-1")
    root = Path(instance.root_directory)
    logs = {
        run_id: [path for path in root.rglob("*") if run_id in str(path) and path.is_file()]
        for run_id in (first, second)
    }
    assert logs[first]
    seen = []
    delete_runs(
        instance,
        old_runs(instance, datetime.now(UTC) + timedelta(seconds=5), progress=no_progress),
        progress=lambda *given: seen.append(given),
    )
    assert seen == [(0, 1, "runs deleted")]
    assert [path for path in root.rglob("*") if first in str(path)] == []
    assert all(path.exists() for path in logs[second])


def test_two_prunes_at_once_delete_each_run_once(instance):
    for _ in range(4):
        make(instance, "E-1")
    found = old_runs(instance, datetime.now(UTC) + timedelta(seconds=5))
    assert delete_runs(instance, found) + delete_runs(instance, found) == 3
