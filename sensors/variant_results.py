"""`variant_results`: keeps the tables of searches up to date, and has the next variants of Bayesian ones proposed."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.search import GIVEN_UP_TAG, search
from cellassets.stages.settings import retry_policy
from resources.places import DeploymentResource
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.reconcile.work import Work

MAX_GIVEN_UP = 20  # in one run: databases limit the length of a tag


@dg.sensor(
    target=[search],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds searches; asks for their table when variants have ended, and for the next variants.",
)
def variant_results(context: dg.SensorEvaluationContext, deployment: DeploymentResource) -> dg.SensorResult:
    """Asks for each search whose file or results have changed. Variants that failed for good free their slots."""
    from cellassets.reconcile.standing import search_agenda
    from cellassets.reconcile.wanted import searches
    from cellassets.stages.state import state_of

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        tick.outlook.retries = retry_policy(snapshot)
        agenda, names = search_agenda(snapshot), searches(snapshot)
        tick.waiting += agenda.waiting
        states = {name: state_of(snapshot, "search", name) for name in names}
        work = {item.keys["search"]: item for item in agenda.work} | _with_given_up(tick, snapshot)
    tick.set_partitions("search", names, kept=())
    tick.report(
        "variant_results",
        {name: state.plan_fingerprint for name, state in states.items() if state.status != "waiting"},
        {},
    )
    tick.ask(list(work.values()))
    return tick.answer()


def _with_given_up(tick: Tick, snapshot: "LiveSnapshot") -> dict[str, "Work"]:
    """Returns the searches of which a variant failed for good that still counts as open."""
    from cellassets.fingerprint import fingerprint
    from cellassets.reconcile.standing import recipe_agenda
    from cellassets.reconcile.work import Work
    from cellassets.stages.families import find_variant
    from cellassets.stages.search import SEARCH, given_up_before

    lost: dict[str, list[str]] = {}
    for item in recipe_agenda(snapshot).work:
        variant = find_variant(snapshot, item.keys["recipe"])
        if variant is not None and not tick.in_flight.covers(item) and not tick.is_open(item):
            lost.setdefault(variant.family, []).append(variant.name)
    found = {}
    for name, variants in lost.items():
        new = sorted(set(variants).difference(given_up_before(snapshot, name)))[:MAX_GIVEN_UP]
        if new:
            plan = SEARCH.plan(snapshot, {"search": name}, given_up=new)
            run_key = fingerprint({"plan": plan.fingerprint, "replaces": plan.replaces})
            found[name] = Work(("search",), {"search": name}, run_key, {GIVEN_UP_TAG: ",".join(new)})
    return found
