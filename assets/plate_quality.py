"""`plate_quality`: focus, saturation, background, illumination and cell count of every site, and pictures of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.materialise import materialised, publish
from assets.pictures import thumbnails
from assets.plate_store import plate_store
from cellassets.stages.plate_quality import CODE_VERSION, PLATE_QUALITY
from resources.partitions import EXPERIMENT
from resources.places import DeploymentResource

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


def pictures(published: "Published") -> Mapping[str, dg.MetadataValue]:
    """Returns thumbnails for the UI, heat maps before contact sheets; the pictures are files of the publication."""
    names = [name for name in published.names if name.endswith((".png", ".jpg"))]
    return thumbnails(published.file(name) for name in sorted(names, key=lambda name: name.startswith("contact")))
