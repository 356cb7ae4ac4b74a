"""`new_recipes`: requests training for recipe files that are new or changed."""

import dagster as dg

from assets.checkpoint import checkpoint
from cellassets.stages.settings import retry_policy
from resources.places import DeploymentResource
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick
from sensors.search_slots import within_slots


@dg.sensor(
    target=[checkpoint],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds recipes and asks for training them once the experiments that they name are stored.",
)
def new_recipes(context: dg.SensorEvaluationContext, deployment: DeploymentResource) -> dg.SensorResult:
    """Asks for a checkpoint of each recipe that was not trained yet, or has changed since.

    Of a search, only as many variants are asked for as it trains at once.
    """
    from cellassets.reconcile.standing import recipe_agenda
    from cellassets.reconcile.wanted import recipes
    from cellassets.stages.families import wrong_families
    from cellassets.stages.state import state_of

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        tick.outlook.retries = retry_policy(snapshot)
        agenda, names = recipe_agenda(snapshot), recipes(snapshot)
        tick.waiting += agenda.waiting
        states = {name: state_of(snapshot, "checkpoint", name) for name in names}
        work = within_slots(tick, snapshot, agenda.work)
        wrong = wrong_families(snapshot)
    known = context.instance.get_dynamic_partitions("recipe")
    tick.set_partitions(
        "recipe", names, kept=[key for key in known if key.startswith(tuple(f"{one}-" for one in wrong))]
    )
    tick.report(
        "training_data",
        {name: state.plan_fingerprint for name, state in states.items() if state.status != "waiting"},
        {},
    )
    tick.ask(work)
    return tick.answer()
