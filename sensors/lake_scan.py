"""`lake_scan`: compares the whole lake with its catalogue, once per hour."""

import dagster as dg

from resources.places import DeploymentResource

INTERVAL_S = 3600


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Repairs the catalogue after a run was killed before it noted its publication, or files were removed.",
)
def lake_scan(deployment: DeploymentResource) -> dg.SkipReason:
    """Scans the lake; requests no runs."""
    scan = deployment.open().lake.scan()
    return dg.SkipReason(f"{scan.n_found} artefacts; {scan.n_noted} noted and {scan.n_forgotten} forgotten")
