"""What the ticks of sensors take: as Dagster recorded them, and one by one in this process with their statements."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import sqlalchemy as sa

from cellassets.storage.deployment import Deployment
from resources.alerts import AlertResource
from resources.places import DeploymentResource
from sensors.failed_runs import failed_runs
from sensors.new_experiments import new_experiments
from sensors.new_models import new_models
from sensors.new_recipes import new_recipes
from sensors.stale_scores import stale_scores

SENSORS = (new_experiments, new_recipes, new_models, stale_scores, failed_runs)
N_IDLE = 3


def recorded(instance: dg.DagsterInstance, since_s: float = 0.0) -> dict[str, list[Any]]:
    """Returns the finished ticks since a time, oldest first, of every sensor that has some."""
    found: dict[str, list[Any]] = {}
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since_s)
        finished = [tick for tick in ticks if tick.end_timestamp]
        if finished:
            found[state.name] = sorted(finished, key=lambda tick: tick.timestamp)
    return found


def durations(ticks: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Returns number, median and longest of the ticks of each sensor, in seconds, and the errors of failed ones."""
    return {
        name: {
            "n": len(some),
            "median_s": round(statistics.median(one.end_timestamp - one.timestamp for one in some), 3),
            "longest_s": round(max(one.end_timestamp - one.timestamp for one in some), 3),
            "errors": [one.error.message[:300] for one in some if one.error is not None][:2],
        }
        for name, some in ticks.items()
    }


class Ticks:
    """Ticks of all sensors in this process, one after the other, as a daemon would ask for them.

    Args:
        instance: the instance.
        deployment: the deployment.
    """

    def __init__(self, instance: dg.DagsterInstance, deployment: Deployment) -> None:
        self._instance = instance
        self._resources = {"deployment": DeploymentResource.of(deployment), "alerts": AlertResource()}
        self._cursors: dict[str, str | None] = {}

    def tick(self, sensor: Any) -> tuple[dg.SensorResult, dict[str, Any]]:
        """Returns what a sensor answers, and what its tick took."""
        resources = {name: self._resources[name] for name in sensor.required_resource_keys}
        cursor = self._cursors.get(sensor.name)
        context = dg.build_sensor_context(instance=self._instance, cursor=cursor, resources=resources)
        with counted() as counts:
            started, started_cpu = time.perf_counter(), time.process_time()
            result = sensor(context)
            took = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - started_cpu}
        self._cursors[sensor.name] = result.cursor
        n_asked = len(result.run_requests or ())
        return result, {**{name: round(value, 3) for name, value in took.items()}, **counts, "n_asked": n_asked}

    def first(self) -> tuple[list[Any], dict[str, dict[str, Any]]]:
        """Returns the events that the first tick of each sensor reports, and what the ticks took."""
        events, took = [], {}
        for sensor in SENSORS:
            result, took[sensor.name] = self.tick(sensor)
            events += result.asset_events
        return events, took

    def idle(self) -> dict[str, dict[str, Any]]:
        """Returns the longest of some ticks of each sensor, with its statements and rows; one more comes before."""
        return {
            sensor.name: max([self.tick(sensor)[1] for _ in range(1 + N_IDLE)][1:], key=lambda tick: tick["seconds"])
            for sensor in SENSORS
        }


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yields counts of the SQL statements of this process, and of the rows that they returned, until the block ends."""
    counts: Counter[str] = Counter(statements=0, rows=0)

    def note(_connection: Any, cursor: Any, *_: Any) -> None:
        counts["statements"] += 1
        counts["rows"] += max(cursor.rowcount, 0)

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        yield counts
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)
