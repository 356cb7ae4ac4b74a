"""`plate_quality`: focus, saturation, background, illumination and cell count of every site, and pictures of them."""

import base64
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, publish
from assets.plate_store import plate_store
from cellassets.stages.plate_quality import CODE_VERSION, PLATE_QUALITY
from resources.partitions import EXPERIMENT
from resources.places import DeploymentResource
from resources.pods import op_tags, step_pool

if TYPE_CHECKING:
    from cellassets.storage.lake import Published

CHECK = "most_sites_are_in_line"
MAX_FLAGGED_FRAC = 0.2


@dg.asset(
    deps=[plate_store],
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"parquet", "numpy"},
    code_version=CODE_VERSION,
    pool=step_pool(PLATE_QUALITY.pod),
    op_tags=op_tags(PLATE_QUALITY.pod),
    check_specs=check_of(PLATE_QUALITY, CHECK, f"At most {MAX_FLAGGED_FRAC:.0%} of sites are flagged."),
)
def plate_quality(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Quality of every site, with flags by the distribution of its plate, plate heat maps and contact sheets."""
    published = publish(context, PLATE_QUALITY, deployment)
    summary = published.record.summary
    check = check_flags(summary["n_flagged"], summary["n_sites"])
    return materialised(published, metadata=pictures(published), checks=[check])


def check_flags(n_flagged: int, n_sites: int) -> dg.AssetCheckResult:
    """Returns the check of the share of flagged sites; it fails where there are no sites."""
    flagged_frac = n_flagged / n_sites if n_sites else 1.0
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=flagged_frac <= MAX_FLAGGED_FRAC,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"flagged_frac": flagged_frac},
    )


def pictures(published: "Published") -> dict[str, dg.MarkdownMetadataValue]:
    """Returns every picture of a publication as metadata that the Dagster UI shows inline."""
    shown = {}
    for name in published.names:
        if name.endswith((".png", ".jpg")):
            content = base64.b64encode(published.file(name).read_bytes()).decode()
            title, suffix = name.rsplit(".", 1)
            kind = {"png": "image/png", "jpg": "image/jpeg"}[suffix]
            shown[title] = dg.MetadataValue.md(f"![{title}](data:{kind};base64,{content})")
    return shown
