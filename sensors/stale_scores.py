"""`stale_scores`: maps, scores, leaderboard and reports that are missing or made from other inputs."""

import dagster as dg

from resources.places import ConfigsResource, LakeResource, RegistryResource
from sensors.jobs import rank_models, score_maps, write_reports
from sensors.requests import INTERVAL_S, answer, read_in_flight, run_requests


@dg.sensor(
    jobs=[score_maps, rank_models, write_reports],
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for exactly the maps and scores that new experiments, models or settings made stale.",
)
def stale_scores(
    context: dg.SensorEvaluationContext, lake: LakeResource, registry: RegistryResource, configs: ConfigsResource
) -> dg.SensorResult:
    """Asks for stale (data set, model) pairs; once none is under way for the leaderboard; after it for the reports.

    A pair that failed for good holds up nothing: it was asked for, so it is not asked for again.
    """
    from cellassets.reconcile import scores
    from cellassets.reconcile.models import active_models, dataset_state

    in_flight = read_in_flight(context.instance)
    models = active_models(registry.open().list_models(), configs.policy().models)
    state = dataset_state(lake.open(), configs.path())
    datasets = state.datasets
    stale = scores.stale_scores(lake.open(), models=models, datasets=datasets, configs=configs.path())
    requests = run_requests(stale.work, in_flight, job_name=score_maps.name)
    if not requests and not in_flight.touches("benchmark/"):
        board = scores.stale_leaderboard(lake.open(), datasets, configs.path())
        requests = run_requests(board, in_flight, job_name=rank_models.name)
        if not board:
            reports = scores.stale_reports(lake.open(), registry.open(), models)
            requests = run_requests(reports, in_flight, job_name=write_reports.name)
    return answer(requests, [], waiting=[*state.waiting, *stale.waiting])
