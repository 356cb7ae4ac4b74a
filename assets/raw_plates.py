"""`raw_plates`: an experiment that landed, checked image by image. The images stay where they are."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.checks import check_of
from assets.materialise import log_progress, materialised, refusals_as_failures
from cellassets.errors import PlateRefused
from resources.partitions import EXPERIMENT
from resources.places import ConfigsResource, LakeResource, LandingResource
from resources.pods import LANDING_POOL, cpu_pod

CHECK = "images_are_whole"
MAX_ROWS_SHOWN = 50


@dg.asset(
    partitions_def=EXPERIMENT,
    group_name="plates",
    owners=["team:data-engineering"],
    kinds={"parquet", "polars"},
    pool=LANDING_POOL,
    op_tags=cpu_pod(2, 4),
    check_specs=check_of(
        "raw_plates",
        CHECK,
        description="Every image that the metadata names is there once, whole and of the right size.",
        partitions=EXPERIMENT,
    ),
)
def raw_plates(
    context: dg.AssetExecutionContext, lake: LakeResource, landing: LandingResource, configs: ConfigsResource
) -> Iterator[Any]:
    """Manifest of a landed experiment: a row an image with size, CRC32C, shape and dtype, a row a well."""
    from cellassets.screens.ingest import ingest_plates
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import FINDINGS

    artifact = lake.open().raw_plates(context.partition_key)
    try:
        with refusals_as_failures():
            record = ingest_plates(
                lake.open(),
                landing.path(),
                context.partition_key,
                policy=configs.policy().ingest,
                progress=log_progress(context),
            )
    except dg.Failure as failure:
        if isinstance(failure.__cause__, PlateRefused):
            yield _check(failure.__cause__.findings, is_refused=True)
        raise
    findings = read_table(artifact.path("findings.parquet", record), FINDINGS)
    yield materialised(artifact, record, checks=[_check(findings, is_refused=False)])


def _check(findings: Any, *, is_refused: bool) -> dg.AssetCheckResult:
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
        description="refused as a whole" if is_refused else f"{harmful.height} findings that cost images",
        metadata={"findings": dg.MetadataValue.md("\n".join(lines)), **{str(k): v for k, v in counts.items()}},
    )
