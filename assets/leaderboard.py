"""`leaderboard`: all models on the newest version of every dataset, compared in pairs."""

from typing import Any

import dagster as dg

from assets.checks import check_of
from assets.inputs import judged_scores
from assets.materialise import materialised, publish
from cellassets.stages.leaderboard import CODE_VERSION, LEADERBOARD
from resources.places import DeploymentResource

CHECK = "scores_are_as_they_would_be_taken_now"


@dg.asset(
    deps=[judged_scores],
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"polars"},
    code_version=CODE_VERSION,
    check_specs=check_of(
        LEADERBOARD, CHECK, "Every score was computed with the present wells, annotations, settings, maps and code."
    ),
)
def leaderboard(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Scores of all models side by side, with paired differences and their intervals."""
    from cellassets.judging.leaderboard import leaderboard_markdown
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import LEADERBOARD as SCHEMA

    published = publish(context, LEADERBOARD, deployment)
    rows = read_table(published.file("leaderboard.parquet"), SCHEMA)
    table = dg.MetadataValue.md(leaderboard_markdown(rows))
    return materialised(published, metadata={"leaderboard": table}, checks=[check_stale(rows)])


def check_stale(rows: Any) -> dg.AssetCheckResult:
    """Returns the check of LEADERBOARD rows; it fails if a row is stale."""
    stale = rows.filter("is_stale")
    shown = [f"{row['benchmark_name']}/{row['dataset_id']}/{row['model_key']}" for row in stale.to_dicts()]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=stale.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"n_stale": stale.height, "stale": ", ".join(shown[:20])},
    )
