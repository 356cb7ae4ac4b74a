"""From a commit record to a Dagster event: metadata for people, the data version, refusals as failures."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from cellassets.errors import CellAssetsError

if TYPE_CHECKING:
    from cellassets.progress import Progress
    from cellassets.storage.artifact import Artifact, Record

PROGRESS_STEPS = 10
PROGRESS_INTERVAL_S = 60.0


def describe(artifact: "Artifact", record: "Record", **more: Any) -> dict[str, Any]:
    """Returns what the Dagster UI shows beside a materialisation: the record's summary and where it lies."""
    shown = {name: value for name, value in record.summary.items() if value is not None}
    place = artifact.folder(record.fingerprint)
    return {**shown, **more, "fingerprint": record.fingerprint, "place": dg.MetadataValue.path(str(place))}


def materialised(
    artifact: "Artifact",
    record: "Record",
    *,
    metadata: Mapping[str, Any] | None = None,
    checks: list[dg.AssetCheckResult] | None = None,
) -> dg.MaterializeResult:
    """Returns the materialisation of a published artefact; its data version is the record's fingerprint."""
    return dg.MaterializeResult(
        metadata=describe(artifact, record, **(metadata or {})),
        data_version=dg.DataVersion(record.fingerprint),
        check_results=checks or [],
    )


@contextmanager
def refusals_as_failures() -> Iterator[None]:
    """Turns a refusal by the library into a failure that is not retried: the same data would be refused again."""
    try:
        yield
    except CellAssetsError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error": type(error).__name__},
            allow_retries=False,
        ) from error


def log_progress(context: dg.AssetExecutionContext) -> "Progress":
    """Returns a progress callback that logs every tenth of the work, and at least one line per minute."""
    last: dict[str, tuple[int, float]] = {}

    def report(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
        step, now_s = PROGRESS_STEPS * n_done // max(n_total, 1), time.monotonic()
        last_step, last_s = last.setdefault(what, (0, now_s))
        if step > last_step or now_s - last_s >= PROGRESS_INTERVAL_S:
            last[what] = (step, now_s)
            context.log.info("%s: %d of %d%s", what, n_done, n_total, f" ({note})" if note else "")

    return report
