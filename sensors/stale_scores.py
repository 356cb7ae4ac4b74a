"""`stale_scores`: maps, scores, leaderboard and reports that are missing or made from other inputs."""

import dagster as dg

from cellassets.scoring.benchmark import BENCHMARKS
from resources.places import ConfigsResource, LakeResource, RegistryResource
from sensors.requests import INTERVAL_S, answer, read_in_flight, run_requests

TARGET = dg.AssetSelection.assets(
    "perturbation_map", "leaderboard", "model_report", *(["benchmark", name] for name in sorted(BENCHMARKS))
)


@dg.sensor(
    target=TARGET,
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for exactly the maps and scores that new experiments, models or settings made stale.",
)
def stale_scores(
    context: dg.SensorEvaluationContext, lake: LakeResource, registry: RegistryResource, configs: ConfigsResource
) -> dg.SensorResult:
    """Asks for stale (data set, model) pairs; once none is under way for the leaderboard; after it for the reports."""
    from cellassets.reconcile import scores
    from cellassets.reconcile.models import active_models, all_datasets

    in_flight = read_in_flight(context.instance)
    models = active_models(registry.open().list_models(), configs.policy().models)
    datasets = all_datasets(lake.open(), configs.path())
    work = scores.stale_scores(lake.open(), registry.open(), models=models, datasets=datasets, configs=configs.path())
    requests = run_requests(work, in_flight)
    if not requests and not in_flight.touches("benchmark/"):
        boards = scores.stale_leaderboard(lake.open())
        work = boards or scores.stale_reports(lake.open(), registry.open(), models)
        requests = run_requests(work, in_flight)
    return answer(requests, [])
