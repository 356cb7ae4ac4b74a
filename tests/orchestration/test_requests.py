"""What a tick asks Dagster for: runs of one or several partitions, never twice, and versions that are new."""

import json
from functools import partial

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import SubmitRunContext

from cellassets.definitions import build_definitions
from cellassets.errors import ConfigError
from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN, Waiting, Work
from cellassets.stages.settings import RetryPolicy
from resources import run_coordinator
from resources.partitions import RANGE_END, RANGE_START
from resources.run_coordinator import earlier_run, pool_tags, registered_kind
from resources.runs import MEMORY_TAG, OUT_OF_MEMORY_TAG
from sensors import attempts, reported
from sensors.in_flight import read_in_flight
from sensors.memory import Memory
from sensors.requests import MAX_LISTED, MAX_REPORTED_PER_TICK, MAX_REQUESTS_PER_TICK, Tick

NOON = "2026-01-01T12:00:00+00:00"
EXPERIMENTS = ["E-9", "E-1", "E-5", "E-3", "E-7"]  # Dagster keeps the order in which they were added


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions("experiment", EXPERIMENTS)
        opened.add_dynamic_partitions("model", ["a.v1", "b.v1"])
        yield opened


@pytest.fixture
def begin(instance):
    """Begins a tick: `begin(cursor)`."""
    contexts = []

    def begin(cursor=None):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        contexts.append(context.__enter__())
        return Tick.begin(contexts[-1])

    yield begin
    for context in contexts:
        context.__exit__(None, None, None)


def embed(experiment, model="a.v1", *, asset="site_embeddings"):
    return Work((asset,), {"experiment": experiment, "model": model}, f"{experiment} {model} {asset}")


def plate(experiment, run_key=None):
    return Work(("raw_plates", "plate_store"), {"experiment": experiment}, run_key or f"{experiment} plates")


def runs(tick):
    """First and last partition of each requested run."""
    return [
        (request.partition_key, request.partition_key)
        if request.partition_key
        else (request.tags[RANGE_START], request.tags[RANGE_END])
        for request in tick.requests
    ]


def start(instance, asset, *, status=dg.DagsterRunStatus.STARTED, **tags):
    """Adds a run of an asset; the names of tags have `_` for `/`."""
    spelt = {"partition": "dagster/partition", "first": RANGE_START, "last": RANGE_END, "backfill": "dagster/backfill"}
    run = dg.DagsterRun(
        "job",
        status=status,
        asset_selection=frozenset({dg.AssetKey(asset.split("/"))}),
        tags={spelt[name]: value for name, value in tags.items()},
    )
    instance.add_run(run)


def launch(instance, tick, **tags):
    """Creates the runs that a tick requests, as the daemon does, and starts them."""
    created = []
    for request in tick.requests:
        partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
        own = {**request.tags, **partition, "dagster/run_key": request.run_key, **tags}
        run = dg.DagsterRun(
            "job", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset(request.asset_selection), tags=own
        )
        instance.add_run(run)
        created.append(run)
    return created


def test_a_batch_follows_the_order_of_the_axis(begin):
    tick = begin()
    assert tick.ask([embed(name) for name in sorted(EXPERIMENTS)], axis="experiment") == 5
    assert runs(tick) == [("E-9|a.v1", "E-7|a.v1")]
    (request,) = tick.requests
    assert request.asset_selection == [dg.AssetKey("site_embeddings")]


def test_a_batch_has_no_gaps(begin):
    tick = begin()
    tick.ask([embed(name) for name in ("E-1", "E-5", "E-7", "E-9")], axis="experiment")
    assert runs(tick) == [("E-9|a.v1", "E-5|a.v1"), ("E-7|a.v1", "E-7|a.v1")]


def test_a_batch_has_one_model_and_one_set_of_assets(begin):
    tick = begin()
    work = [
        embed("E-9"),
        embed("E-1", "b.v1"),
        embed("E-5"),
        embed("E-1"),
        embed("E-3", asset="other"),
        embed("E-9", "b.v1"),
    ]
    assert tick.ask(work, axis="experiment") == 6
    assert sorted(runs(tick)) == [("E-3|a.v1", "E-3|a.v1"), ("E-9|a.v1", "E-5|a.v1"), ("E-9|b.v1", "E-1|b.v1")]
    by_start = {first: request.asset_selection for (first, _), request in zip(runs(tick), tick.requests, strict=True)}
    assert by_start["E-3|a.v1"] == [dg.AssetKey("other")]


def test_a_batch_holds_at_most_twenty_partitions(instance, begin):
    names = [f"F-{number:03d}" for number in range(45)]
    instance.add_dynamic_partitions("experiment", names)
    tick = begin()
    tick.ask([embed(name) for name in names], axis="experiment")
    assert MAX_PARTITIONS_PER_RUN == 20
    assert runs(tick) == [
        ("F-000|a.v1", "F-019|a.v1"), ("F-020|a.v1", "F-039|a.v1"), ("F-040|a.v1", "F-044|a.v1"),
    ]  # fmt: skip


def test_a_partition_whose_key_dagster_does_not_have_is_named_and_not_asked_for(begin):
    tick = begin()
    assert tick.ask([embed("gone-1"), embed("E-1"), embed("E-9", "c.v1")], axis="experiment") == 1
    assert runs(tick) == [("E-1|a.v1", "E-1|a.v1")]
    assert {item.what: item.reason for item in tick.waiting} == {
        f"site_embeddings of {what}": f"waits for the partition key of {key} in Dagster; its sensor adds it"
        for what, key in (("gone-1|a.v1", "experiment gone-1"), ("E-9|c.v1", "model c.v1"))
    }


def test_keys_that_this_tick_adds_are_asked_for_singly(begin):
    tick = begin()
    tick.set_partitions("experiment", ["new-1", "new-2"])
    tick.ask([embed("new-1"), embed("new-2")], axis="experiment")
    assert sorted(runs(tick)) == [("new-1|a.v1", "new-1|a.v1"), ("new-2|a.v1", "new-2|a.v1")]


def test_without_an_axis_every_partition_is_a_run_under_its_own_key(begin):
    tick = begin()
    tick.ask([plate("E-9"), plate("E-1")], job_name="score_maps")
    assert runs(tick) == [("E-9", "E-9"), ("E-1", "E-1")]
    assert [request.run_key for request in tick.requests] == ["E-9 plates", "E-1 plates"]
    assert {request.job_name for request in tick.requests} == {"score_maps"}


def test_equal_batches_have_equal_run_keys_and_others_do_not(begin):
    keys = []
    for names in (["E-9", "E-1"], ["E-1", "E-9"], ["E-9", "E-1", "E-5"]):
        tick = begin()
        tick.ask([embed(name) for name in names], axis="experiment")
        keys.append(tick.requests[0].run_key)
    assert keys[0] == keys[1] != keys[2]


def test_a_tick_asks_for_at_most_25_runs_and_the_next_one_for_the_rest(instance, begin):
    names = [f"F-{number}" for number in range(30)]
    instance.add_dynamic_partitions("experiment", names)
    work = [plate(name) for name in names]
    tick = begin()
    assert tick.ask(work) == 30
    assert len(tick.requests) == MAX_REQUESTS_PER_TICK == 25
    tick.ask([plate("E-9")])
    assert len(tick.requests) == 25, "several calls share the limit"
    launch(instance, tick)
    after = begin(tick.answer().cursor)
    assert after.ask(work) == 5
    assert runs(after) == [(f"F-{number}", f"F-{number}") for number in range(25, 30)]


def test_a_range_in_flight_covers_each_of_its_partitions(instance, begin):
    start(instance, "site_embeddings", first="E-1|a.v1", last="E-3|a.v1")
    tick = begin()
    tick.ask([embed(name, model) for name in EXPERIMENTS for model in ("a.v1", "b.v1")], axis="experiment")
    assert sorted(runs(tick)) == [("E-7|a.v1", "E-7|a.v1"), ("E-9|a.v1", "E-9|a.v1"), ("E-9|b.v1", "E-7|b.v1")]


def test_a_range_of_models_covers_each_of_them(instance):
    start(instance, "model_report", first="a.v1", last="b.v1")
    assert read_in_flight(instance).partitions == {("model_report", "a.v1"), ("model_report", "b.v1")}


@pytest.fixture
def n_statements():
    """Counts the SQL statements of a call."""

    def count(call) -> int:
        statements = []
        listener = partial(_note_statement, statements)
        sa.event.listen(sa.Engine, "before_cursor_execute", listener)
        try:
            call()
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", listener)
        return len(statements)

    return count


def _note_statement(statements, _connection, _cursor, statement, _parameters, _context, _many):
    statements.append(statement)


def test_many_ranges_in_flight_take_as_many_statements_as_one(instance, n_statements):
    """A backfill of a cell type queues a thousand of them, and every sensor reads them at every tick."""

    def add(number):
        for _ in range(number):
            start(instance, "site_embeddings", first="E-9|a.v1", last="E-5|a.v1")

    add(1)
    with_one = n_statements(lambda: read_in_flight(instance))
    add(30)
    assert n_statements(lambda: read_in_flight(instance)) == with_one > 0


def test_a_tick_reads_no_run_that_ended_long_ago(instance, begin, monkeypatch):
    """Neither those that succeeded nor, after the first tick of a process, those that failed."""
    read, get_run_records = [], instance.get_run_records

    def counted(*arguments, **options):
        read.extend(records := get_run_records(*arguments, **options))
        return records

    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        for _ in range(20):
            start(instance, "site_embeddings", status=status, partition="E-1|a.v1")
    monkeypatch.setattr(instance, "get_run_records", counted)
    begin()
    assert len(read) == 20, "the failed ones are read once"
    monkeypatch.setattr(attempts, "OVERLAP_S", 0.0)
    read.clear()
    begin()
    assert read == []


def test_a_range_whose_ends_were_retired_covers_its_ends(instance):
    start(instance, "site_embeddings", first="gone-1|a.v1", last="gone-3|a.v1")
    assert read_in_flight(instance).partitions == {
        ("site_embeddings", "gone-1|a.v1"),
        ("site_embeddings", "gone-3|a.v1"),
    }


def test_a_run_covers_its_own_partition_and_assets_only(instance):
    start(instance, "plate_store", partition="E-1")
    found = read_in_flight(instance)
    assert found.covers(plate("E-1"))
    assert not found.covers(plate("E-9"))
    assert not found.covers(embed("E-1"))
    assert found.has_any_but(["leaderboard"])
    assert not found.has_any_but(["plate_store"])


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
)
def test_a_finished_run_covers_nothing(instance, status):
    start(instance, "raw_plates", status=status, partition="E-1")
    assert not read_in_flight(instance).covers(plate("E-1"))


def test_a_run_of_a_backfill_covers_all_partitions_of_its_asset(instance):
    start(instance, "raw_plates", partition="E-1", backfill="abc")
    assert read_in_flight(instance).covers(plate("E-9"))


def test_an_asset_without_partitions_is_covered_by_its_run(instance):
    start(instance, "leaderboard")
    assert read_in_flight(instance).covers(Work(("leaderboard",), {}, "board"))


@pytest.mark.parametrize(
    "cursor",
    [
        None, "", "not JSON", "[]", "3", "null", '"text"', '{"since": 3}', '{"first_seen": {"E-1": []}}',
        '{"first_seen": {"E-1": 3}}', '{"first_seen": {"E-1": ["signature", "yesterday"]}}', '{"since": {"quiet": 1}}',
        '{"first_seen": {"E-1": ["signature", "2026-01-01T00:00:00"]}}', '{"since": {"quiet": "soon"}}',
        '{"reported": [1]}', '{"since": 5}',
    ],
)  # fmt: skip
def test_a_cursor_that_cannot_be_read_starts_again(cursor):
    assert Memory.read(cursor) == Memory()


def test_a_cursor_gives_back_what_was_remembered():
    memory = Memory({"asset/key": "0123"}, {"E-1": ("of files", NOON)}, {"quiet": NOON})
    assert Memory.read(memory.text()) == memory
    assert json.loads(Memory().text()) == {}


def test_only_the_damaged_part_of_a_cursor_is_forgotten():
    text = json.dumps(
        {"reported": {"a/1": "0123", "a/2": 5}, "first_seen": {"E-1": "?", "E-2": ["s", NOON]}, "since": []}
    )
    assert Memory.read(text) == Memory({"a/1": "0123"}, {"E-2": ("s", NOON)}, {})


def versions(tick):
    return [(type(event).__name__, event.partition, event.tags["dagster/data_version"]) for event in tick.events]


def test_a_version_is_reported_once(begin):
    tick = begin()
    tick.report("landed_experiment", {"E-1": "first version"}, {"E-1": {"kind": "new"}})
    assert versions(tick) == [
        ("AssetObservation", "E-1", "first version"),
        ("AssetMaterialization", "E-1", "first version"),
    ]
    assert tick.events[0].metadata["kind"].value == "new"
    after = begin(tick.answer().cursor)
    after.report("landed_experiment", {"E-1": "first version", "E-9": "another"}, {})
    assert {partition for _, partition, _ in versions(after)} == {"E-9"}
    changed = begin(after.answer().cursor)
    changed.report("landed_experiment", {"E-1": "other version", "E-9": "another"}, {})
    assert {(partition, version) for _, partition, version in versions(changed)} == {("E-1", "other version")}


def test_many_new_versions_are_reported_in_several_ticks_each_once(begin):
    """A new database over an old lake lacks thousands; the daemon writes them before it starts the runs of the tick."""
    versions, cursor, keys = {f"E-{number}": "v" * 32 for number in range(2 * MAX_REPORTED_PER_TICK + 1)}, None, []
    for n_reported in (MAX_REPORTED_PER_TICK, MAX_REPORTED_PER_TICK, 1, 0):
        tick = begin(cursor)
        tick.report("landed_experiment", versions, {})
        assert len(tick.events) == 2 * n_reported
        keys += [event.partition for event in tick.events]
        cursor = tick.answer().cursor
    assert sorted(keys) == sorted([*versions] * 2)


def test_what_the_event_log_has_is_not_reported_again_without_a_cursor(instance, begin):
    tick = begin()
    tick.report("landed_experiment", {"E-1": "v", "E-9": "w"}, {})
    tick.report("hit_settings", {"": "x"}, {})
    for event in tick.events:
        instance.report_runless_asset_event(event)
    reported._reported.clear()  # another process
    after = begin()
    after.report("landed_experiment", {"E-1": "v", "E-9": "other"}, {})
    after.report("hit_settings", {"": "x"}, {})
    assert {event.partition for event in after.events} == {"E-9"}


def test_what_a_dead_daemon_did_not_write_is_reported_again(begin):
    for _ in range(2):
        tick = begin()  # the cursor of the tick before was never written
        tick.report("landed_experiment", {"E-1": "v"}, {})
        assert len(tick.events) == 2


def test_the_cursor_holds_what_is_unsettled_only(begin):
    cursor, reported_keys = None, []
    while True:
        tick = begin(cursor)
        tick.report("landed_experiment", {f"E-{number}": "v" for number in range(2000)}, {})
        cursor = tick.answer().cursor
        if not tick.events:
            break
        assert len(tick.events) == 2 * MAX_REPORTED_PER_TICK
        assert len(cursor) < 50 * MAX_REPORTED_PER_TICK
        reported_keys += [event.partition for event in tick.events[::2]]
    assert sorted(reported_keys) == sorted(f"E-{number}" for number in range(2000)), "each once"
    assert cursor == "{}"


def requested(tick):
    return [(type(request).__name__, list(request.partition_keys)) for request in tick.partitions]


def test_new_keys_are_added_and_retired_ones_deleted(begin):
    tick = begin()
    tick.set_partitions("model", ["a.v1", "c.v1"], kept=["never there"])
    assert requested(tick) == [
        ("AddDynamicPartitionsRequest", ["c.v1"]),
        ("DeleteDynamicPartitionsRequest", ["b.v1"]),
    ]


@pytest.mark.parametrize("kept", [None, ["b.v1"]])
def test_keys_that_are_kept_stay(begin, kept):
    tick = begin()
    tick.set_partitions("model", ["a.v1"], kept=kept)
    assert requested(tick) == []


def test_a_key_that_cannot_be_one_is_left_out(begin):
    tick = begin()
    tick.set_partitions("experiment", ["E-1", "two|parts", "../up", "E-10"])
    assert requested(tick) == [("AddDynamicPartitionsRequest", ["E-10"])]


def test_an_answer_without_requests_says_what_waits(begin):
    tick = begin()
    assert tick.answer().skip_reason.skip_message == "everything is there"
    tick.waiting += [Waiting(f"map {number}", "no embeddings") for number in range(MAX_LISTED + 2)]
    message = tick.answer().skip_reason.skip_message
    assert message.startswith("waiting: map 0: no embeddings; map 1")
    assert message.endswith("; and 2 more")
    tick.ask([plate("E-9")])
    assert tick.answer().skip_reason is None


def test_the_pool_of_a_range_is_that_of_its_model(tmp_path):
    (tmp_path / "recipes").mkdir()
    for name, kind in (("deep", "network"), ("plain", "classical")):
        (tmp_path / "recipes" / f"{name}.yaml").write_text(f"kind: {kind}\n")
    place = {"CELLASSETS_CONFIGS": str(tmp_path)}

    def pool(asset, **tags):
        run = dg.DagsterRun("job", asset_selection=frozenset({dg.AssetKey(asset)}), tags=tags)
        return pool_tags(run, [asset], place).get("cellassets/pool")

    ranges = {RANGE_START: "E-1|{}.v1", RANGE_END: "E-9|{}.v1"}
    for name, expected in (("deep", "gpu"), ("plain", "cpu"), ("unknown", "gpu")):
        assert pool("site_embeddings", **{tag: key.format(name) for tag, key in ranges.items()}) == expected
    assert pool("checkpoint") == "gpu", "a run of no named partition may be of any recipe"
    assert pool("perturbation_map", **{"dagster/partition": "HUVEC|deep.v1"}) is None


def fail(instance, runs, *, message="the disk is full"):
    for run in runs:
        instance.report_run_failed(run, message)


def again(begin, work, **options):
    """A tick whose delays are over."""
    tick = begin()
    tick.outlook.retries = RetryPolicy(first_delay_minutes=0)
    tick.ask(work, **options)
    return tick


def test_work_whose_run_failed_is_asked_for_again_after_a_delay_under_another_run_key(instance, begin):
    tick = begin()
    tick.ask([plate("E-9")])
    fail(instance, launch(instance, tick))
    waiting = begin(tick.answer().cursor)
    assert waiting.ask([plate("E-9")]) == 0
    (told,) = waiting.waiting
    assert told.what == "raw_plates of E-9"
    assert told.reason.startswith("attempt 2 of 6 in ")
    assert told.reason.endswith("s, after: the disk is full")
    (request,) = again(begin, [plate("E-9")]).requests
    assert request.run_key == "E-9 plates-2"


def test_attempts_are_bounded_and_then_the_work_is_listed_as_failed(instance, begin):
    keys = []
    for _ in range(6):
        tick = again(begin, [plate("E-9")])
        keys += [request.run_key for request in tick.requests]
        fail(instance, launch(instance, tick))
    assert keys == ["E-9 plates", *(f"E-9 plates-{number}" for number in range(2, 7))]
    last = again(begin, [plate("E-9")])
    assert not last.requests
    (told,) = last.waiting
    assert told.reason == "failed 6 times, run `cellassets work retry` to ask again: the disk is full"
    assert not last.is_open(plate("E-9"))
    assert again(begin, [plate("E-9", "other images")]).requests, "another input starts again"


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_run_that_was_cancelled_or_never_started_answers_nothing(instance, begin, is_cancelled):
    tick = again(begin, [plate("E-9")])
    (run,) = launch(instance, tick)
    instance.report_run_canceled(run) if is_cancelled else instance.report_run_failed(run, "no such launcher")
    assert again(begin, [plate("E-9")]).requests


def test_two_ticks_that_see_the_same_runs_ask_under_the_same_key(instance, begin):
    fail(instance, launch(instance, again(begin, [plate("E-9"), embed("E-1"), embed("E-5")], axis="experiment")))
    keys = [
        [request.run_key for request in again(begin, [embed("E-1"), embed("E-5")], axis="experiment").requests]
        for _ in range(2)
    ]
    assert keys[0] == keys[1] != []


def test_a_run_that_dagster_restarts_itself_is_one_attempt(instance, begin):
    (run,) = launch(instance, again(begin, [plate("E-9")]))
    fail(instance, [run])
    instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    tick = again(begin, [plate("E-9")])
    assert not tick.requests
    assert tick.waiting[0].reason == "its run died; Dagster starts it again"
    (retry,) = launch(instance, again(begin, [plate("E-1")]))  # in place of Dagster's own
    instance.add_run_tags(run.run_id, {"dagster/auto_retry_run_id": retry.run_id})
    assert again(begin, [plate("E-9")]).requests


def test_work_that_failed_twice_gets_a_run_of_its_own(instance, begin):
    work = [embed(name) for name in ("E-9", "E-1", "E-5")]
    for expected in ([("E-9|a.v1", "E-5|a.v1")], [("E-9|a.v1", "E-5|a.v1")]):
        tick = again(begin, work, axis="experiment")
        assert runs(tick) == expected
        fail(instance, launch(instance, tick))
    assert sorted(runs(again(begin, work, axis="experiment"))) == [
        (f"{n}|a.v1", f"{n}|a.v1") for n in ("E-1", "E-5", "E-9")
    ]


def test_work_that_never_failed_goes_first(instance, begin):
    fail(instance, launch(instance, again(begin, [plate("E-1")])))
    assert runs(again(begin, [plate("E-1"), plate("E-9")])) == [("E-9", "E-9"), ("E-1", "E-1")]


def test_work_is_asked_for_again_when_its_publication_was_removed(instance, begin):
    """Its run key has succeeded before, and Dagster starts a run key once."""
    (run,) = launch(instance, again(begin, [plate("E-9")]))
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "job"), run.run_id)
    (request,) = again(begin, [plate("E-9")]).requests
    assert request.run_key == "E-9 plates-2"


def test_a_range_names_the_work_of_each_partition(instance, begin):
    tick = again(begin, [embed(name) for name in EXPERIMENTS], axis="experiment")
    fail(instance, launch(instance, tick))
    assert not begin().ask([embed(name) for name in EXPERIMENTS], axis="experiment")


def test_of_two_runs_that_two_daemons_created_for_the_same_work_the_first_one_stays(instance, begin):
    """Both daemons looked for a run with the key before either had created one."""
    both = [again(begin, [plate("E-9")]) for _ in range(2)]
    first, second = (launch(instance, tick, **{"dagster/sensor_name": "new_experiments"})[0] for tick in both)
    assert first.tags["dagster/run_key"] == second.tags["dagster/run_key"]
    assert earlier_run(instance, second) == first.run_id
    assert earlier_run(instance, first) is None
    instance.report_run_canceled(second)
    fail(instance, [first])
    (retry,) = launch(instance, both[0], **{"dagster/parent_run_id": first.run_id})
    assert earlier_run(instance, retry) is None, "a run that is started again is not a duplicate"


@pytest.mark.parametrize("asks_first", [True, False])
def test_a_run_that_dagster_starts_again_late_does_not_do_what_a_sensor_asked_for_meanwhile(
    instance, begin, asks_first
):
    """After a pause of the daemon both happen at once, for one partition of a range too."""
    work = [embed(name) for name in EXPERIMENTS]
    dead = again(begin, work, axis="experiment")
    (lost,) = launch(instance, dead)
    fail(instance, [lost])

    asked = again(begin, work[:1])  # neither knows of the other
    again_of = {"dagster/parent_run_id": lost.run_id}
    if asks_first:
        (first,), (second,) = launch(instance, asked), launch(instance, dead, **again_of)
    else:
        (first,), (second,) = launch(instance, dead, **again_of), launch(instance, asked)
    assert earlier_run(instance, second) == first.run_id
    assert earlier_run(instance, first) is None
    fail(instance, [first])
    assert earlier_run(instance, second) is None, "the first one has ended"


def test_a_run_that_is_started_again_late_counts_by_what_it_makes_and_not_by_what_was_asked_for(instance, begin):
    """It had published some of its assets when it died, so that the sensor asks for the others by another name."""
    dead = again(begin, [plate("E-9")])
    (lost,) = launch(instance, dead)
    fail(instance, [lost])
    (rest,) = launch(instance, again(begin, [Work(("plate_store",), {"experiment": "E-9"}, "the rest")]))
    (other,) = launch(instance, again(begin, [plate("E-1")]))
    (restarted,) = launch(instance, dead, **{"dagster/parent_run_id": lost.run_id})
    assert earlier_run(instance, restarted) == rest.run_id
    assert earlier_run(instance, rest) is earlier_run(instance, other) is None
    by_hand = dg.DagsterRun("job", asset_selection=lost.asset_selection, tags={"dagster/partition": "E-9"})
    instance.add_run(by_hand)
    assert earlier_run(instance, by_hand) is None, "a person asked for it"


def test_a_duplicate_is_not_an_attempt(instance, begin):
    (run,) = launch(instance, again(begin, [plate("E-9")]), **{"cellassets/duplicate_of": "another"})
    instance.report_run_canceled(run)
    (request,) = again(begin, [plate("E-9")]).requests
    assert request.run_key == "E-9 plates-2", "Dagster starts no second run with the key of the cancelled one"


def test_the_pool_of_a_model_without_a_recipe_is_that_of_its_reported_kind(tmp_path):
    place = {"CELLASSETS_CONFIGS": str(tmp_path)}
    run = dg.DagsterRun("job", tags={"dagster/partition": "E-1|moments.v1"})
    with dg.instance_for_test() as instance:

        def pool():
            return pool_tags(run, ["site_embeddings"], place, partial(registered_kind, instance))["cellassets/pool"]

        assert pool() == "gpu", "an unknown kind may be a network"
        seen = dg.AssetMaterialization("registered_model", partition="moments.v1", metadata={"kind": "container"})
        instance.report_runless_asset_event(seen)
        assert pool() == "cpu"


def test_work_that_had_all_memory_is_not_asked_for_again(instance, begin):
    tick = begin()
    tick.ask([plate("E-9")])
    [run] = launch(instance, tick)
    instance.add_run_tags(run.run_id, {OUT_OF_MEMORY_TAG: "true"})
    fail(instance, [run])
    assert again(begin, [plate("E-9")]).requests == []
    assert begin().outlook.verdict(plate("E-9")).outcome == "refused"


def test_the_next_attempt_keeps_the_memory_that_the_last_one_was_to_get(instance, begin):
    tick = begin()
    tick.ask([plate("E-9")])
    [run] = launch(instance, tick)
    instance.add_run_tags(run.run_id, {MEMORY_TAG: "8"})
    fail(instance, [run])
    [request] = again(begin, [plate("E-9")]).requests
    assert request.tags[MEMORY_TAG] == "8"


def test_a_run_key_of_a_failed_run_is_not_used_again(instance, begin):
    tick = begin()
    tick.ask([plate("E-9")])
    first = launch(instance, tick)
    fail(instance, first)
    second = launch(instance, again(begin, [plate("E-9")]))
    fail(instance, second)
    instance.delete_run(first[0].run_id)
    attempts._attempts.clear()  # as in a new process
    [request] = again(begin, [plate("E-9")]).requests
    assert request.run_key not in (tick.requests[0].run_key, second[0].tags["dagster/run_key"])


def test_a_run_that_cannot_be_queued_has_failed(monkeypatch):
    def refuse(_environment):
        message = "pods.yaml: stages: 'chekpoint' is not the name of a stage"
        raise ConfigError(message)

    monkeypatch.setattr(run_coordinator, "open_pods", refuse)
    overrides = {"run_coordinator": {"module": "resources.run_coordinator", "class": "PooledRunCoordinator"}}
    with dg.instance_for_test(overrides=overrides) as instance:
        run = instance.create_run_for_job(build_definitions().resolve_job_def("embed"))
        context = SubmitRunContext(dagster_run=run, workspace=None)
        assert instance.run_coordinator.submit_run(context).status == dg.DagsterRunStatus.FAILURE
