"""From a commit record to a Dagster event: metadata for people, the data version, refusals as failures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from cellassets.errors import CellAssetsError

if TYPE_CHECKING:
    from cellassets.progress import Progress
    from cellassets.storage.artifact import Artifact, Record

PROGRESS_STEPS = 10


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
    """Returns a progress callback that logs every tenth of the way."""
    last: dict[str, int] = {}

    def report(n_done: int, n_total: int, what: str) -> None:
        step = PROGRESS_STEPS * n_done // max(n_total, 1)
        if step > last.get(what, 0):
            last[what] = step
            context.log.info("%s: %d of %d", what, n_done, n_total)

    return report
