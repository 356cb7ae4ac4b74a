"""`new_models`: a model version in the registry, trained here or registered by anyone else."""

import dagster as dg

from assets.site_embeddings import site_embeddings
from resources.places import ConfigsResource, LakeResource, RegistryResource
from sensors.requests import INTERVAL_S, additions, answer, read_in_flight, run_requests


@dg.sensor(
    target=[site_embeddings],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Adds registered models; asks for embeddings of every experiment of the active data sets.",
)
def new_models(
    context: dg.SensorEvaluationContext, lake: LakeResource, registry: RegistryResource, configs: ConfigsResource
) -> dg.SensorResult:
    """Asks for each missing (experiment, active model) pair of the active data sets."""
    from cellassets.reconcile.models import active_datasets, active_models, dataset_state, missing_embeddings

    in_flight = read_in_flight(context.instance)
    policy = configs.policy()
    models = active_models(registry.open().list_models(), policy.models)
    state = dataset_state(lake.open(), configs.path())
    datasets = active_datasets(lake.open(), state.datasets, policy.datasets)
    work = missing_embeddings(lake.open(), models=models, datasets=datasets)
    added = additions(context, "model", [entry.key for entry in models])
    return answer(run_requests(work, in_flight), added, waiting=state.waiting)
