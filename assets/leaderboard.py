"""`leaderboard`: all models on the newest version of every data set, compared in pairs."""

from typing import Any

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, refusals_as_failures
from cellassets.benchmarks.registry import BENCHMARKS
from resources.places import ConfigsResource, LakeResource
from resources.pods import cpu_pod

CHECK = "scores_are_as_they_would_be_taken_now"


@dg.asset(
    deps=[dg.AssetKey(["benchmark", name]) for name in sorted(BENCHMARKS)],
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"polars"},
    op_tags=cpu_pod(1, 4),
    check_specs=check_of(
        "leaderboard", CHECK, description="No score is of other wells, annotations, settings or code than those of now."
    ),
)
def leaderboard(lake: LakeResource, configs: ConfigsResource) -> dg.MaterializeResult:
    """Scores of all models side by side, with paired differences and their intervals."""
    from cellassets.judging.leaderboard import build_leaderboard, leaderboard_markdown
    from cellassets.reconcile.models import dataset_state
    from cellassets.reconcile.scores import wanted_protocols
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import LEADERBOARD

    with refusals_as_failures():
        datasets = dataset_state(lake.open(), configs.path()).datasets
        record = build_leaderboard(lake.open(), wanted_protocols(lake.open(), datasets, configs.path()))
    artifact = lake.open().leaderboard()
    rows = read_table(artifact.path("leaderboard.parquet", record), LEADERBOARD)
    table = dg.MetadataValue.md(leaderboard_markdown(lake.open()))
    return materialised(artifact, record, metadata={"leaderboard": table}, checks=[_check(rows)])


def _check(rows: Any) -> dg.AssetCheckResult:
    stale = rows.filter("is_stale")
    shown = [f"{row['benchmark_name']}/{row['dataset_id']}/{row['model_key']}" for row in stale.to_dicts()]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"n_stale": stale.height, "stale": ", ".join(shown[:20])},
    )
