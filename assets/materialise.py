"""Runs stages and returns Dagster's events: metadata for people, the data version, and failures for refused inputs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.checks import at_partition
from assets.interruption import interruptions_kept
from assets.metering import metered
from cellassets.errors import CellAssetsError, is_refusal
from cellassets.fingerprint import fingerprint
from cellassets.stages.stage import Stage
from resources.partitions import keys_of
from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import ContainerRunner
    from cellassets.progress import Progress
    from cellassets.storage.lake import Published

REFUSED = "refused"  # metadata of a failure: the partitions whose data was refused
PROGRESS_STEPS = 10
PROGRESS_INTERVAL_S = 60.0


def publish(
    context: dg.AssetExecutionContext,
    stage: Stage,
    deployment: DeploymentResource,
    *,
    options: Mapping[str, Any] | None = None,
) -> "Published":
    """Returns what is published at the run's partition, after making it if needed.

    Raises:
        Failure: the library refused the inputs. The run is not retried, since the same inputs would be refused again.
        DagsterExecutionInterruptedError: the process was asked to end. Dagster retries the run.
    """
    from cellassets.stages.carry_out import carry_out

    key = context.partition_key if context.has_partition_key else None
    keys = keys_of(stage.axes, key)
    with refusals_as_failures(key), metered(context, stage, deployment, keys) as meter:
        published = carry_out(
            meter.stage, deployment.open(), keys, progress=meter.noting(log_progress(context)), options=options
        )
    context.add_asset_metadata(meter.metadata())
    return published


def publish_all(
    context: dg.AssetExecutionContext,
    stage: Stage,
    deployment: DeploymentResource,
    *,
    check: Callable[["Published"], dg.AssetCheckResult],
    metadata: Callable[["Published"], Mapping[str, Any]] | None = None,
    containers: "ContainerRunner | None" = None,
) -> dg.MaterializeResult:
    """Returns the materialisation of all partitions of a run; a refused one does not stop the others.

    Args:
        context: context of the run, which may have several partitions.
        stage: what to make.
        deployment: where everything is.
        check: returns the check of one partition; the run's check passes if all of them pass.
        metadata: returns the metadata of one partition.
        containers: starts the processes of container encoders.

    Raises:
        Failure: some partitions were refused; the message names each of them with its reason.
        DagsterExecutionInterruptedError: the process was asked to end. Dagster retries the run.
    """
    from cellassets.stages.carry_out import carry_out

    fingerprints, checks, refused = [], {}, {}
    for key in context.partition_keys:
        try:
            keys = keys_of(stage.axes, key)
            with interruptions_kept(), metered(context, stage, deployment, keys) as meter:
                published = carry_out(
                    meter.stage,
                    deployment.open(),
                    keys,
                    progress=meter.noting(log_progress(context)),
                    containers=containers,
                )
        except CellAssetsError as error:
            refused[key] = error
            continue
        shown = {} if metadata is None else metadata(published)
        context.add_asset_metadata(describe(published, **shown, **meter.metadata()), partition_key=key)
        checks[key] = at_partition(check(published), key)
        fingerprints.append(published.record.fingerprint)
    if refused:
        message = "; ".join(f"{key}: {error}" for key, error in refused.items())
        raise dg.Failure(
            f"{len(refused)} of {len(context.partition_keys)} refused: {message}",
            metadata={REFUSED: [key for key, error in refused.items() if is_refusal(error)]},
            allow_retries=False,
        )
    version = fingerprints[0] if len(fingerprints) == 1 else fingerprint({"of": fingerprints})
    return dg.MaterializeResult(data_version=dg.DataVersion(version), check_results=[_together(checks)])


def _together(checks: Mapping[str, dg.AssetCheckResult]) -> dg.AssetCheckResult:
    """Returns one check result for all partitions of a run."""
    first = next(iter(checks.values()))
    failed = {key: result for key, result in checks.items() if not result.passed}
    return dg.AssetCheckResult(
        check_name=first.check_name,
        passed=not failed,
        severity=first.severity,
        description="; ".join(f"{key}: {result.description}" for key, result in failed.items()) or first.description,
        metadata=first.metadata if len(checks) == 1 else {"n_partitions": len(checks), "failed": ", ".join(failed)},
    )


def describe(published: "Published", **more: Any) -> dict[str, Any]:
    """Returns what the Dagster UI shows for a publication: the record's summary and the folder of the files."""
    shown = {name: value for name, value in published.record.summary.items() if value is not None}
    place = dg.MetadataValue.path(str(published.folder))
    return {**shown, **more, "fingerprint": published.record.fingerprint, "place": place}


def materialised(
    published: "Published",
    *,
    metadata: Mapping[str, Any] | None = None,
    checks: list[dg.AssetCheckResult] | None = None,
) -> dg.MaterializeResult:
    """Returns the materialisation of a publication; its data version is the record's fingerprint."""
    return dg.MaterializeResult(
        metadata=describe(published, **(metadata or {})),
        data_version=dg.DataVersion(published.record.fingerprint),
        check_results=[at_partition(result, "|".join(published.record.keys)) for result in checks or []],
    )


@contextmanager
def refusals_as_failures(partition: str | None) -> Iterator[None]:
    """Turns an error of the library into a Dagster failure, which names the partition if its data was refused.

    Dagster does not retry the step, unless a signal interrupted it. Sensors ask again for work that was not refused
    (`sensors.attempts`).
    """
    try:
        with interruptions_kept():
            yield
    except CellAssetsError as error:
        refused = [partition or ""] if is_refusal(error) else []
        raise dg.Failure(
            description=str(error), metadata={"error": type(error).__name__, REFUSED: refused}, allow_retries=False
        ) from error


def log_progress(context: dg.AssetExecutionContext) -> "Progress":
    """Returns a progress callback that logs every tenth of the work, and at least one line per minute.

    A note before anything is done, such as an estimate of the time, is logged too.
    """
    last: dict[str, tuple[int, float]] = {}

    def report(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
        step, now_s = PROGRESS_STEPS * n_done // max(n_total, 1), time.monotonic()
        last_step, last_s = last.setdefault(what, (0, now_s))
        is_announcement = n_done == 0 and bool(note)
        if step > last_step or now_s - last_s >= PROGRESS_INTERVAL_S or is_announcement:
            last[what] = (step, now_s)
            context.log.info("%s: %d of %d%s", what, n_done, n_total, f" ({note})" if note else "")

    return report
