"""`model_report`: one page on a model for people who decide."""

import dagster as dg

from assets.checks import check_of
from assets.leaderboard import leaderboard
from assets.materialise import materialised, refusals_as_failures
from resources.partitions import MODEL
from resources.places import LakeResource, RegistryResource
from resources.pods import cpu_pod

CHECK = "needs_no_network"


@dg.asset(
    deps=[leaderboard],
    partitions_def=MODEL,
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"html"},
    op_tags=cpu_pod(1, 4),
    check_specs=check_of("model_report", CHECK, description="The page loads nothing from elsewhere.", partitions=MODEL),
)
def model_report(
    context: dg.AssetExecutionContext, lake: LakeResource, registry: RegistryResource
) -> dg.MaterializeResult:
    """Self-contained HTML: verdict, scores against null and other models, the map, batch effect, images, provenance."""
    from cellassets.reporting.report import build_report

    with refusals_as_failures():
        record = build_report(lake.open(), registry.open(), context.partition_key)
    artifact = lake.open().model_report(context.partition_key)
    page = artifact.path("report.html", record)
    text = page.read_text()
    outside = [mark for mark in ('src="http', "src='http", "<link ", "@import", "url(http") if mark in text]
    check = dg.AssetCheckResult(check_name=CHECK, passed=not outside, metadata={"found": ", ".join(outside)})
    link = dg.MetadataValue.url(page.as_uri())
    return materialised(artifact, record, metadata={"page": link}, checks=[check])
