"""`new_experiments`: a complete folder in the landing zone."""

from datetime import UTC, datetime

import dagster as dg

from assets.plate_quality import plate_quality
from assets.plate_store import plate_store
from assets.raw_plates import raw_plates
from resources.places import ConfigsResource, LakeResource, LandingResource
from sensors.requests import INTERVAL_S, additions, answer, read_in_flight, run_requests


@dg.sensor(
    target=[raw_plates, plate_store, plate_quality],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds experiments that landed and data sets of new cell types; asks for checking and storing them.",
)
def new_experiments(
    context: dg.SensorEvaluationContext, lake: LakeResource, landing: LandingResource, configs: ConfigsResource
) -> dg.SensorResult:
    """Asks for manifest, store and quality of each experiment that is complete and not taken in as it lies."""
    from cellassets.reconcile.experiments import FirstSeen, landing_state
    from cellassets.reconcile.models import dataset_state

    in_flight = read_in_flight(context.instance)
    state = landing_state(
        lake.open(),
        landing.path(),
        configs.policy(),
        first_seen=FirstSeen.from_json(context.cursor or "{}"),
        now=datetime.now(UTC),
    )
    known = dataset_state(lake.open(), configs.path())
    added = [
        *additions(context, "experiment", [item.keys["experiment"] for item in state.work]),
        *additions(context, "dataset", [dataset.dataset_id for dataset in known.datasets]),
    ]
    waiting = [*state.waiting, *known.waiting]
    return answer(run_requests(state.work, in_flight), added, waiting=waiting, cursor=state.first_seen.to_json())
