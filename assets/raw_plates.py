"""`raw_plates`: checks every image of a landed experiment. The images stay in the landing zone."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.checks import at_partition, check_of
from assets.inputs import landed_experiment
from assets.materialise import materialised, publish
from cellassets.errors import PlateRefused
from cellassets.stages.raw_plates import CODE_VERSION, RAW_PLATES
from resources.partitions import EXPERIMENT
from resources.places import DeploymentResource

CHECK = "images_are_whole"
MAX_ROWS_SHOWN = 50


@dg.asset(
    deps=[landed_experiment],
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"parquet", "polars"},
    code_version=CODE_VERSION,
    pool="landing_reads",
    check_specs=check_of(
        RAW_PLATES, CHECK, "Every image in the metadata exists exactly once, is complete and has the right size."
    ),
)
def raw_plates(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> Iterator[Any]:
    """Manifest of a landed experiment: one row per image with size, CRC32C, shape and dtype, one row per well."""
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import FINDINGS

    try:
        published = publish(context, RAW_PLATES, deployment)
    except dg.Failure as failure:
        if isinstance(failure.__cause__, PlateRefused):
            yield at_partition(check_findings(failure.__cause__.findings, is_refused=True), context.partition_key)
        raise
    findings = read_table(published.file("findings.parquet"), FINDINGS)
    yield materialised(published, checks=[check_findings(findings, is_refused=False)])


def check_findings(findings: Any, *, is_refused: bool) -> dg.AssetCheckResult:
    """Returns the check of a FINDINGS table; it fails if images are lost or the experiment is refused."""
    from cellassets.screens.ingest import HARMFUL

    harmful = findings.filter(findings["consequence"].is_in(HARMFUL))
    rows = harmful.head(MAX_ROWS_SHOWN).select("finding_kind", "plate_id", "well_id", "site_index", "path", "message")
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + " --- |" * rows.width]
    lines += ["| " + " | ".join("" if value is None else str(value) for value in row) + " |" for row in rows.rows()]
    counts = dict(findings["finding_kind"].value_counts().rows())
    return dg.AssetCheckResult(
        asset_key="raw_plates",
        check_name=CHECK,
        passed=harmful.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR if is_refused else dg.AssetCheckSeverity.WARN,
        description="refused as a whole" if is_refused else f"{harmful.height} findings that exclude images",
        metadata={"findings": dg.MetadataValue.md("\n".join(lines)), **{str(k): v for k, v in counts.items()}},
    )
