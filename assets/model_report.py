"""`model_report`: one page about a model, for people who decide about it."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.leaderboard import leaderboard
from assets.materialise import publish_all
from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN
from cellassets.stages.model_report import CODE_VERSION, MODEL_REPORT
from resources.partitions import MODEL
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

CHECK = "needs_no_network"


@dg.asset(
    deps=[leaderboard],
    partitions_def=MODEL,
    backfill_policy=dg.BackfillPolicy.multi_run(MAX_PARTITIONS_PER_RUN),
    group_name="reports",
    owners=["team:machine-learning"],
    kinds={"html"},
    code_version=CODE_VERSION,
    check_specs=check_of(MODEL_REPORT, CHECK, "The page loads nothing from the network."),
)
def model_report(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Self-contained HTML: verdict, scores against null distributions and other models, map, images, provenance."""
    return publish_all(context, MODEL_REPORT, deployment, check=check_page, metadata=_link)


def _link(published: "Published") -> dict[str, dg.MetadataValue]:
    return {"page": dg.MetadataValue.url(published.path("report.html").as_uri())}


def check_page(published: "Published") -> dg.AssetCheckResult:
    """Returns the check of a published page."""
    from cellassets.reporting.page_links import outside_links

    outside = outside_links(published.path("report.html").read_text())
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not outside,
        description=f"{len(outside)} links to other places" if outside else "the page loads nothing from the network",
        metadata={"found": ", ".join(outside)},
    )
