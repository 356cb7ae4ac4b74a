"""`search`: the variants of a recipe file, their results, and what a Bayesian search proposes next."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.checks import check_of
from assets.inputs import variant_results
from assets.materialise import materialised, publish
from assets.pictures import chart
from cellassets.stages.search import CODE_VERSION, CURVES_NAME, SEARCH
from cellassets.training.search_summary import SearchSummary
from resources.partitions import SEARCH as SEARCH_AXIS
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

CHECK = "variants_end_with_a_result"
GIVEN_UP_TAG = "cellassets/given_up"  # variants whose runs failed for good, with commas between them


@dg.asset(
    deps=[variant_results],
    partitions_def=SEARCH_AXIS,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"optuna"},
    code_version=CODE_VERSION,
    check_specs=check_of(SEARCH, CHECK, "No variant of the search diverged, or was given up."),
)
def search(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Variants of a recipe with their results. For a Bayesian search, also the variants that are trained next."""
    given_up = tuple(filter(None, context.run.tags.get(GIVEN_UP_TAG, "").split(",")))
    published = publish(context, SEARCH, deployment, options={"given_up": given_up})
    summary = SearchSummary.model_validate(published.record.summary)
    return materialised(published, metadata=describe_search(published, summary), checks=[check_variants(summary)])


def describe_search(published: "Published", summary: SearchSummary) -> dict[str, Any]:
    """Returns the table of variants, and their curves as a picture."""
    import json

    from cellassets.reporting.chart import data_uri
    from cellassets.reporting.search_chart import search_chart, variants_markdown

    shown: dict[str, Any] = {"variants": dg.MetadataValue.md(variants_markdown(summary))}
    curves = json.loads(published.file(CURVES_NAME).read_bytes())
    if any(curves.values()):
        picture = search_chart(summary, curves)
        shown["curves"] = chart(picture.title, data_uri(picture))
    return shown


def check_variants(summary: SearchSummary) -> dg.AssetCheckResult:
    """Returns the check that every variant that ended has a result."""
    failed = [row for row in summary.variants if row.state in ("diverged", "given up")]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{row.name}: {row.note}" for row in failed[:20])
        or f"{summary.n_trained} trained, {summary.n_stopped} stopped as poor, {summary.n_open} open",
    )
