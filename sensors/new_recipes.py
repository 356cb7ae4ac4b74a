"""`new_recipes`: a recipe file that is new or changed."""

import dagster as dg

from assets.checkpoint import checkpoint
from resources.places import ConfigsResource, LakeResource
from sensors.requests import INTERVAL_S, additions, answer, read_in_flight, run_requests


@dg.sensor(
    target=[checkpoint],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds recipes and asks for training them once the experiments that they name are stored.",
)
def new_recipes(context: dg.SensorEvaluationContext, lake: LakeResource, configs: ConfigsResource) -> dg.SensorResult:
    """Asks for a checkpoint of each recipe that is not trained as it is written now."""
    from cellassets.reconcile.checkpoints import recipe_state

    in_flight = read_in_flight(context.instance)
    state = recipe_state(lake.open(), configs.path() / "recipes")
    added = additions(context, "recipe", state.names)
    return answer(run_requests(state.work, in_flight), added, waiting=state.waiting)
