"""`plate_quality`: focus, saturation, background, illumination and cell count of every site, and pictures of them."""

import base64
from typing import TYPE_CHECKING

import dagster as dg

from assets.checks import check_of
from assets.materialise import log_progress, materialised, refusals_as_failures
from assets.plate_store import plate_store
from resources.partitions import EXPERIMENT
from resources.places import LakeResource
from resources.pods import cpu_pod

if TYPE_CHECKING:
    from cellassets.storage.artifact import Artifact, Record

CHECK = "most_sites_are_in_line"
MAX_FLAGGED_FRAC = 0.2


@dg.asset(
    deps=[plate_store],
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"parquet", "scikitlearn"},
    op_tags=cpu_pod(2, 4),
    check_specs=check_of(
        "plate_quality",
        CHECK,
        description=f"At most {MAX_FLAGGED_FRAC:.0%} of sites are flagged.",
        partitions=EXPERIMENT,
    ),
)
def plate_quality(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Quality of every site, flagged against its own plate's distribution, with plate heat maps and contact sheets."""
    from cellassets.quality.inspect import inspect_experiment

    with refusals_as_failures():
        record = inspect_experiment(lake.open(), context.partition_key, progress=log_progress(context))
    artifact = lake.open().plate_quality(context.partition_key)
    flagged_frac = record.summary["n_flagged"] / max(record.summary["n_sites"], 1)
    check = dg.AssetCheckResult(
        check_name=CHECK,
        passed=flagged_frac <= MAX_FLAGGED_FRAC,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"flagged_frac": flagged_frac},
    )
    return materialised(artifact, record, metadata=pictures(artifact, record), checks=[check])


def pictures(artifact: "Artifact", record: "Record") -> dict[str, dg.MarkdownMetadataValue]:
    """Returns every picture of an artefact as metadata that the Dagster UI shows inline."""
    shown = {}
    for entry in record.files:
        if entry.name.endswith((".png", ".jpg")):
            content = base64.b64encode(artifact.path(entry.name, record).read_bytes()).decode()
            title, suffix = entry.name.rsplit(".", 1)
            kind = {"png": "image/png", "jpg": "image/jpeg"}[suffix]
            shown[title] = dg.MetadataValue.md(f"![{title}](data:{kind};base64,{content})")
    return shown
