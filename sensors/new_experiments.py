"""`new_experiments`: requests runs for complete folders in the landing zone."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.plate_quality import plate_quality
from assets.plate_store import plate_store
from assets.raw_plates import raw_plates
from resources.places import DeploymentResource
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick


@dg.sensor(
    target=[raw_plates, plate_store, plate_quality],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds experiments that landed and datasets of new cell types; asks for checking and storing them.",
)
def new_experiments(context: dg.SensorEvaluationContext, deployment: DeploymentResource) -> dg.SensorResult:
    """Asks for manifest, store and quality of each complete experiment that is new or has changed."""
    from cellassets.reconcile.standing import held, plate_agenda
    from cellassets.stages.datasets import dataset_names
    from cellassets.stages.settings import policy, retry_policy
    from cellassets.stages.state import state_of

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        tick.outlook.retries = retry_policy(snapshot)
        rules = policy(snapshot).landing
        quiet, recheck = timedelta(minutes=rules.quiet_minutes), rules.recheck(snapshot.deployment.landing)
        snapshot.refresh_landing(tick.memory.first_seen, datetime.now(UTC), quiet, recheck)
        tick.memory.first_seen = dict(snapshot.landing.first_seen)
        agenda = plate_agenda(snapshot)
        landed, names = snapshot.landing.complete, dataset_names(snapshot)
        known_here = {*snapshot.keys("raw_plates"), *landed}
        waiting = set(snapshot.landing.waiting)
        tick.waiting += [*agenda.waiting, *held(snapshot)]
        versions = {name: state_of(snapshot, "raw_plates", name).plan_fingerprint for name in landed}
    tick.set_partitions("experiment", known_here, kept=waiting)
    tick.set_partitions("dataset", names, kept=())
    tick.report("landed_experiment", {name: version for name, version in versions.items() if version}, {})
    tick.ask(agenda.work)
    return tick.answer()
