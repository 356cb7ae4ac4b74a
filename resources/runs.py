"""What a run is about, read from Dagster's record of it."""

import dagster as dg

POOL_TAG = "cellassets/pool"
GPU_POOL, CPU_POOL = "gpu", "cpu"


def stages_of(run: dg.DagsterRun, instance: dg.DagsterInstance) -> list[str]:
    """Returns the names of the stages that a run makes; empty for a job without assets.

    A run that a person or a backfill starts names its assets. A run of a whole job does not; its assets are then the
    nodes of the job.
    """
    if run.asset_selection:
        return sorted(key.to_user_string() for key in run.asset_selection)
    if run.job_snapshot_id is None or not instance.has_job_snapshot(run.job_snapshot_id):
        return []
    nodes = instance.get_job_snapshot(run.job_snapshot_id).node_names
    return sorted(name.replace("__", "/") for name in nodes)
