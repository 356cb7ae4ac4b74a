"""`new_models`: requests embeddings by model versions in the registry, trained here or registered by somebody else."""

import dagster as dg

from assets.site_embeddings import site_embeddings
from resources.places import DeploymentResource
from sensors.live import live_snapshot
from sensors.requests import INTERVAL_S, Tick


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
    from cellassets.stages.models import active_models

    tick = Tick.begin(context)
    with live_snapshot(deployment) as snapshot:
        models, registered = active_models(snapshot), snapshot.models()
        agenda = embedding_agenda(snapshot)
        tick.waiting += [*agenda.waiting, *held(snapshot), *ignored(snapshot)]
    known = set(context.instance.get_dynamic_partitions("model"))
    tick.set_partitions("model", [entry.key for entry in models], retired=known - {entry.key for entry in registered})
    metadata = {entry.key: {"kind": entry.kind, "aliases": ", ".join(entry.aliases)} for entry in models}
    tick.report("registered_model", {entry.key: entry.fingerprint for entry in models}, metadata)
    tick.forget_done(agenda.work)
    tick.ask(agenda.work, axis="experiment")
    return tick.answer()
