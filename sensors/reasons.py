"""Why a run ended without success, from its events: the text for people, and which partitions were refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.materialise import REFUSED

MAX_CHARACTERS = 600
KINDS = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}


@dataclass(frozen=True)
class Reason:
    """Why a run ended.

    Attributes:
        text: the reason for people.
        refused: partition keys whose data was refused, '' for an asset without partitions. Empty if any step of the run
            failed for another reason.
    """

    text: str
    refused: frozenset[str] = frozenset()


def read_reason(instance: dg.DagsterInstance, run_id: str) -> Reason:
    """Returns why a run ended."""
    records = instance.get_records_for_run(run_id, of_type=KINDS).records
    events = [entry for record in records if (entry := record.event_log_entry.dagster_event) is not None]
    steps = [event for event in events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    texts = [_step_text(event) for event in steps] or [_run_text(event) for event in events]
    refusals = [_refused(event) for event in steps]
    is_refused = bool(refusals) and all(refusals)
    text = "; ".join(dict.fromkeys(filter(None, texts))) or "its process ended without a message"
    return Reason(
        text[:MAX_CHARACTERS], frozenset(key for keys in refusals for key in keys) if is_refused else frozenset()
    )


def _refused(event: dg.DagsterEvent) -> Sequence[str]:
    """Returns the partitions that a failed step refused."""
    given = event.step_failure_data.user_failure_data
    value: Any = given.metadata.get(REFUSED) if given is not None else None
    return () if value is None else tuple(value.value)


def _step_text(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return " ".join(error.message.split()) if error is not None else str(event.message)


def _run_text(event: dg.DagsterEvent) -> str:
    message = str(event.message or "")
    data = event.job_failure_data if event.event_type == dg.DagsterEventType.RUN_FAILURE else None
    error = data.error if data is not None else None
    return " ".join(f"{message} {error.message if error is not None else ''}".split())
