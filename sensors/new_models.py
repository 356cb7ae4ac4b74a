"""`new_models`: requests embeddings by model versions in the registry, trained here or registered by somebody else."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.site_embeddings import site_embeddings
from cellassets.errors import CellAssetsError
from cellassets.stages.settings import retry_policy
from resources.places import DeploymentResource
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot


@dg.sensor(
    target=[site_embeddings],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds registered models; asks for embeddings of every experiment of the active datasets.",
)
def new_models(context: dg.SensorEvaluationContext, deployment: DeploymentResource) -> dg.SensorResult:
    """Asks for each missing (experiment, active model) pair of the active datasets."""
    from cellassets.reconcile.standing import held, ignored
    from cellassets.reconcile.work import embedding_agenda

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        tick.outlook.retries = retry_policy(snapshot)
        agenda = embedding_agenda(snapshot)
        tick.waiting += [*agenda.waiting, *held(snapshot), *ignored(snapshot)]
        _keep_models(tick, snapshot)
    tick.ask(agenda.work, axis="experiment")
    return tick.answer()


def _keep_models(tick: Tick, snapshot: "LiveSnapshot") -> None:
    """Adds, retires and reports models; changes nothing if the registry does not answer, which the agenda says."""
    from cellassets.stages.models import active_models

    try:
        models, registered = active_models(snapshot), snapshot.models()
    except CellAssetsError:
        return
    tick.set_partitions("model", [entry.key for entry in models], kept=[entry.key for entry in registered])
    metadata = {entry.key: {"kind": entry.kind, "aliases": ", ".join(entry.aliases)} for entry in models}
    tick.report("registered_model", {entry.key: entry.fingerprint for entry in models}, metadata)
