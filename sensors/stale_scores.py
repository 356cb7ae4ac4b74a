"""`stale_scores`: requests maps, scores, leaderboard and reports that are missing or whose inputs have changed."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cellassets.stages.settings import retry_policy
from resources.partitions import partition_key
from resources.places import DeploymentResource
from sensors.jobs import rank_models, score_maps, write_reports
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot

LAST = ("leaderboard", "model_report", "production_model")
SETTLED = timedelta(seconds=INTERVAL_S + 1)  # other sensors have had a tick in which to request the next stages


@dg.sensor(
    jobs=[score_maps, rank_models, write_reports],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for exactly the maps and scores that new experiments, models or settings made stale.",
)
def stale_scores(context: dg.SensorEvaluationContext, deployment: DeploymentResource) -> dg.SensorResult:
    """Asks for stale (dataset, model) pairs; once no run is active for the leaderboard, and after it for the reports.

    A pair that failed for good does not block the others.
    """
    from cellassets.reconcile.standing import leaderboard_agenda, report_agenda
    from cellassets.reconcile.wanted import idle_datasets
    from cellassets.reconcile.work import Waiting, map_agenda

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        maps, board, reports = map_agenda(snapshot), leaderboard_agenda(snapshot), report_agenda(snapshot)
        tick.waiting += [*maps.waiting, *board.waiting, *reports.waiting]
        tick.waiting += [Waiting(f"dataset {name}", reason) for name, reason in idle_datasets(snapshot).items()]
        _report_inputs(tick, snapshot)
        tick.outlook.retries = retry_policy(snapshot)
        is_busy = any(tick.is_open(item) for item in maps.work)
        is_time = _is_time(tick, snapshot, is_due=bool(board.work or reports.work), is_busy=is_busy)
    tick.set_partitions("dataset", sorted({item.keys["dataset"] for item in maps.work}))
    tick.ask(maps.work, job_name=score_maps.name)
    if is_time and not tick.requests and not tick.ask(board.work, job_name=rank_models.name) and not board.work:
        tick.ask(reports.work, job_name=write_reports.name, axis="model")
    return tick.answer()


def _is_time(tick: Tick, snapshot: "LiveSnapshot", *, is_due: bool, is_busy: bool) -> bool:
    """Returns true if leaderboard and reports may be made: nothing else is active, or they waited long enough."""
    from cellassets.stages.settings import policy

    now, since = datetime.now(UTC), tick.memory.since
    is_quiet = not tick.in_flight.has_any_but(LAST) and not is_busy
    for name, holds in (("quiet", is_quiet), ("due", is_due)):
        if holds:
            since.setdefault(name, now.isoformat())
        else:
            since.pop(name, None)
    longest = timedelta(minutes=policy(snapshot).reports.max_wait_minutes)
    waited = {name: abs(now - datetime.fromisoformat(time)) for name, time in since.items()}  # clocks are set back
    return waited.get("quiet", timedelta(0)) >= SETTLED or waited.get("due", timedelta(0)) >= longest


def _report_inputs(tick: Tick, snapshot: "LiveSnapshot") -> None:
    """Reports the versions of the inputs of maps and benchmarks."""
    from cellassets.benchmarks.registry import BENCHMARKS
    from cellassets.reconcile.wanted import wanted_maps
    from cellassets.stages import active_perturbations
    from cellassets.stages.benchmark import settings_fingerprint
    from cellassets.stages.state import state_of

    pairs = {keys: state_of(snapshot, "perturbation_map", *keys) for keys in wanted_maps(snapshot)}
    versions = {
        str(partition_key({"dataset": dataset, "model": model})): state.plan_fingerprint
        for (dataset, model), state in pairs.items()
        if state.status != "waiting"
    }
    tick.report("dataset_embeddings", versions, {})
    board = state_of(snapshot, "leaderboard").plan_fingerprint
    tick.report("judged_scores", {"": board} if board else {}, {})
    settings = {name: settings_fingerprint(snapshot, name) for name in BENCHMARKS}
    tick.report("benchmark_settings", {name: version for name, version in settings.items() if version}, {})
    of_hits = active_perturbations.settings_fingerprint(snapshot)
    tick.report("hit_settings", {"": of_hits} if of_hits else {}, {})
