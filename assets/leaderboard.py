"""`leaderboard`: all models on the newest version of every data set, compared in pairs."""

from typing import Any

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, refusals_as_failures
from cellassets.scoring.benchmark import BENCHMARKS
from resources.places import LakeResource
from resources.pods import cpu_pod

CHECK = "ranks_only_equal_wells"


@dg.asset(
    deps=[dg.AssetKey(["benchmark", name]) for name in sorted(BENCHMARKS)],
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"polars"},
    op_tags=cpu_pod(1, 4),
    check_specs=check_of(
        "leaderboard", CHECK, description="Models share a ranking only where the data set held equal wells."
    ),
)
def leaderboard(lake: LakeResource) -> dg.MaterializeResult:
    """Scores of all models side by side, with paired differences and their intervals."""
    from cellassets.reporting.leaderboard import build_leaderboard, leaderboard_markdown
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import LEADERBOARD

    with refusals_as_failures():
        record = build_leaderboard(lake.open())
    artifact = lake.open().leaderboard()
    rows = read_table(artifact.path("leaderboard.parquet", record), LEADERBOARD)
    table = dg.MetadataValue.md(leaderboard_markdown(lake.open()))
    return materialised(artifact, record, metadata={"leaderboard": table}, checks=[_check(rows)])


def _check(rows: Any) -> dg.AssetCheckResult:
    axes = ["benchmark_name", "dataset_id", "dataset_fingerprint"]
    first = rows.filter(rows["rank"] == 1).group_by(axes).len()
    groups = rows.group_by(axes).len()
    return dg.AssetCheckResult(
        check_name=CHECK, passed=first.height == groups.height, metadata={"n_rankings": groups.height}
    )
