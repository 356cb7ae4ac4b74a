"""`retry_failed`: a job for the UI that asks again for what was refused or failed, like `cellassets work retry`.

In the UI: Jobs, `retry_failed`, Launchpad, Launch run. Without settings it asks for everything again.
"""

import dagster as dg

from resources.places import DeploymentResource


class RetryConfig(dg.Config):
    """What to ask for again: everything, one asset, or one partition of an asset."""

    asset: str = ""
    partition: str = ""


@dg.op(description="Notes that a person asks again; the sensors start the runs within seconds.")
def ask_for_failed_work(context: dg.OpExecutionContext, config: RetryConfig, deployment: DeploymentResource) -> int:
    """Returns how many partitions are asked for again."""
    from sensors.live import live_snapshot
    from sensors.work_list import ask_again, look_at_landing

    with live_snapshot(deployment) as snapshot:
        look_at_landing(snapshot)
        asked = ask_again(snapshot, context.instance, config.asset or None, config.partition or None)
    for name in asked:
        context.log.info("asked for again: %s", name)
    context.add_output_metadata({"n_asked": len(asked), "asked": asked})
    return len(asked)


@dg.job(description="Asks again for work that was refused or has failed for good.", executor_def=dg.in_process_executor)
def retry_failed() -> None:
    """One step."""
    ask_for_failed_work()
