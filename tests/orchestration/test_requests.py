"""From due work to runs: batches, the cap per tick, what is in flight, what a sensor remembers and reports."""

import dagster as dg
import pytest

from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN, Work
from resources.partitions import RANGE_END, RANGE_START
from sensors.in_flight import read_in_flight
from sensors.memory import Memory
from sensors.requests import MAX_REQUESTS_PER_TICK, Tick

EXPERIMENTS = [f"E-{number:03d}" for number in range(60)]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions("experiment", EXPERIMENTS)
        opened.add_dynamic_partitions("model", ["a.v1", "b.v1"])
        yield opened


def begin(instance, cursor=None) -> Tick:
    return Tick.begin(dg.build_sensor_context(instance=instance, cursor=cursor))


def embedding(experiment, model) -> Work:
    return Work(("site_embeddings",), {"experiment": experiment, "model": model}, f"key of {experiment} {model}")


def ends(request) -> tuple[str, str]:
    key = request.partition_key
    return (key, key) if key else (request.tags[RANGE_START], request.tags[RANGE_END])


def test_partitions_that_follow_one_another_share_a_run_of_one_model(instance):
    tick = begin(instance)
    due = [embedding(name, model) for model in ("a.v1", "b.v1") for name in EXPERIMENTS if name != "E-010"]
    assert tick.ask(due, axis="experiment") == 118
    assert [ends(request) for request in tick.requests[:4]] == [
        ("E-000|a.v1", "E-009|a.v1"),
        ("E-011|a.v1", "E-030|a.v1"),
        ("E-031|a.v1", "E-050|a.v1"),
        ("E-051|a.v1", "E-059|a.v1"),
    ]
    assert len(tick.requests) == 8
    for request in tick.requests:
        start, end = ends(request)
        assert start.split("|")[1] == end.split("|")[1]
        first, last = (EXPERIMENTS.index(key.split("|")[0]) for key in (start, end))
        assert last - first < MAX_PARTITIONS_PER_RUN


def test_a_tick_asks_for_a_bounded_number_of_runs_and_the_next_one_for_the_rest(instance):
    due = [Work(("leaderboard",), {"experiment": name}, f"key of {name}") for name in EXPERIMENTS]
    tick = begin(instance)
    tick.ask(due)
    assert len(tick.requests) == MAX_REQUESTS_PER_TICK
    later = begin(instance, cursor=tick.answer().cursor)
    later.ask(due)
    assert not {r.run_key for r in later.requests} & {r.run_key for r in tick.requests}


def test_what_was_asked_for_and_is_not_due_any_more_is_forgotten(instance):
    tick = begin(instance)
    due = [embedding("E-000", "a.v1"), embedding("E-001", "a.v1")]
    tick.ask(due)
    tick.forget_done(due[:1])
    assert tick.memory.asked == {due[0].run_key}


def test_a_run_over_a_range_covers_every_partition_in_it(instance):
    tags = {RANGE_START: "E-003|a.v1", RANGE_END: "E-006|a.v1"}
    job = dg.Definitions(
        assets=[dg.asset(name="site_embeddings")(lambda: None)]
    ).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=tags, asset_selection=frozenset({dg.AssetKey("site_embeddings")})
    )
    found = read_in_flight(instance)
    assert [found.covers(embedding(name, "a.v1")) for name in EXPERIMENTS[2:8]] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]
    assert not found.covers(embedding("E-004", "b.v1"))


@pytest.mark.parametrize("cursor", [None, "", "not JSON", "[]", '{"first_seen": {"E-1": 3}}', '{"asked": 5}'])
def test_a_cursor_that_cannot_be_read_starts_afresh(cursor):
    assert Memory.read(cursor) == Memory()


def test_memory_comes_back_from_its_cursor():
    memory = Memory({"a"}, {"x/y": "12345678"}, {"E-1": ("signature", "time")}, {"quiet": "now"})
    assert Memory.read(memory.text()) == memory


def test_a_version_is_reported_once_and_again_after_a_change(instance):
    tick = begin(instance)
    tick.report("dataset_embeddings", {"HUVEC|a.v1": "1" * 32}, {})
    assert {type(event) for event in tick.events} == {dg.AssetObservation, dg.AssetMaterialization}
    again = begin(instance, cursor=tick.answer().cursor)
    again.report("dataset_embeddings", {"HUVEC|a.v1": "1" * 32}, {})
    assert again.events == []
    again.report("dataset_embeddings", {"HUVEC|a.v1": "2" * 32}, {})
    assert len(again.events) == 2
    again.report("dataset_embeddings", {}, {})
    assert again.memory.reported == {}


def test_keys_that_are_gone_are_retired_and_bad_ones_left_out(instance):
    tick = begin(instance)
    tick.set_partitions("model", ["a.v1", "c.v1", "bad|key"], retired=["b.v1"])
    added, removed = tick.partitions
    assert list(added.partition_keys) == ["c.v1"]
    assert list(removed.partition_keys) == ["b.v1"]
