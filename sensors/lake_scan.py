"""`lake_scan`: the whole lake compared with its catalogue, once an hour."""

import dagster as dg

from resources.places import DeploymentResource

INTERVAL_S = 3600


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Repairs the catalogue where a run was cut off between publishing and noting, or files were removed.",
)
def lake_scan(deployment: DeploymentResource) -> dg.SkipReason:
    """Scans the lake; asks for nothing."""
    scan = deployment.open().lake.scan()
    return dg.SkipReason(f"{scan.n_found} artefacts; {scan.n_noted} noted and {scan.n_forgotten} forgotten")
