"""A clock that jumps, forwards or back, while work fails: every failure counts, and nothing is asked for twice."""

import time
from contextlib import ExitStack
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from cellassets.reconcile.work import Work
from sensors.attempts import read_attempts
from sensors.requests import Tick

NOON_S = 1_800_000_000.0
DAY_S = timedelta(days=1).total_seconds()
WORK = Work(("raw_plates", "plate_store"), {"experiment": "E-1"}, "E-1 plates")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        opened.add_dynamic_partitions("experiment", ["E-1"])
        yield opened


@pytest.fixture
def set_clock(monkeypatch):
    """Sets the clock of this process, to a time in seconds since 1970, for cellassets and for Dagster."""
    with ExitStack() as stack:

        def set_clock(now_s):
            monkeypatch.setattr(time, "time", lambda: now_s)
            stack.enter_context(freeze_time(now_s))

        yield set_clock


@pytest.fixture
def ask(instance):
    """The run keys that a tick asks for; the runs are created, and fail at once unless told otherwise."""

    def ask(*, fails=True):
        with dg.build_sensor_context(instance=instance) as context:
            tick = Tick.begin(context)
            tick.ask([WORK])
        for request in tick.requests:
            tags = {**request.tags, "dagster/partition": request.partition_key, "dagster/run_key": request.run_key}
            assets = frozenset(request.asset_selection)
            run = dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED, asset_selection=assets, tags=tags)
            instance.add_run(run)
            if fails:
                instance.report_run_failed(run, "the disk is full")
        return [request.run_key for request in tick.requests]

    return ask


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S, 30 * DAY_S, -30 * DAY_S], ids=lambda jump: f"{jump / DAY_S:+g} days")
def test_after_a_jump_the_delay_is_over_and_each_failure_counts_once(instance, set_clock, ask, jump_s):
    set_clock(NOON_S)
    assert ask() == ["E-1 plates"]
    assert ask() == [], "the second attempt waits"
    set_clock(NOON_S + jump_s)
    assert ask() == ["E-1 plates-2"]
    assert ask() == [], "the third attempt waits for its own delay"
    assert len(read_attempts(instance).of(WORK)) == 2


def test_a_failure_after_a_clock_was_set_back_by_minutes_is_seen(instance, set_clock, ask):
    """Only runs that changed since the last look are read, unless that was an hour ago."""
    set_clock(NOON_S)
    ask()
    set_clock(NOON_S + 1800)
    ask(fails=False)
    assert ask() == [], "its run is under way"
    set_clock(NOON_S + 600)
    [run] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    instance.report_run_failed(run, "the disk is full")
    assert ask() == [], "the third attempt waits"
    assert len(read_attempts(instance).of(WORK)) == 2


def test_a_clock_that_jumps_to_and_fro_cannot_exceed_the_number_of_attempts(instance, set_clock, ask):
    asked = []
    for number in range(12):
        set_clock(NOON_S + (DAY_S * number if number % 2 else -DAY_S * number))
        asked += ask()
    assert asked == ["E-1 plates", *(f"E-1 plates-{number}" for number in range(2, 7))]
    assert len(instance.get_runs()) == 6
