"""`failed_runs`: reports each run that failed for good to a webhook, once.

A run failed for good if its data was refused, if it was the last attempt at its work, or if a person or a backfill
started it and Dagster does not start it again. Runs that somebody cancelled are not reported.

The run itself remembers in a tag that it was reported. Where a tick dies between the sending and the tag, the alert is
sent again with the same `Idempotency-Key`. A webhook that fails is tried again, with growing delays, a bounded number
of times.
"""

import json
import time
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from resources.alerts import AlertResource
from resources.partitions import RANGE_END, RANGE_START
from resources.places import DeploymentResource
from sensors.attempts import Ended
from sensors.live import live_snapshot
from sensors.outlook import Outlook
from sensors.requests import MAX_LISTED

INTERVAL_S = 30
TOLD_TAG = "cellassets/alerted"
MAX_AGE_S = 7 * 24 * 3600.0  # older failures are history
MAX_PER_TICK = 10
MAX_SENDINGS = 8  # of one alert; the delay doubles, from 30 s to about an hour


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells a webhook once about each run that failed for good.",
)
def failed_runs(
    context: dg.SensorEvaluationContext, deployment: DeploymentResource, alerts: AlertResource
) -> dg.SensorResult:
    """Sends the alerts that are due; a webhook that fails is tried again later and stops nothing."""
    from cellassets.stages.settings import retry_policy

    outlook = Outlook.of(context.instance)
    with live_snapshot(deployment) as snapshot:
        outlook.retries = retry_policy(snapshot)
    found = failures(outlook)
    if not alerts.is_set:
        named = "; ".join(f"{_what(one)}: {outlook.reason(one).text}" for one in found[:MAX_LISTED])
        told = f"{len(found)} failed for good, and CELLASSETS_ALERT_WEBHOOK is not set: {named}"
        return _answer(told if found else "nothing failed for good", {})
    sendings = _read(context.cursor)
    due = [one for one in found if _is_due(sendings.get(one.run.run_id))][:MAX_PER_TICK]
    n_sent, problem = _send_all(due, sendings, alerts, outlook)
    if problem:
        context.log.error(problem)
    open_ids = {one.run.run_id for one in found}
    left = {run_id: sending for run_id, sending in sendings.items() if run_id in open_ids}
    return _answer(problem or f"{n_sent} alerts sent, {len(found) - n_sent} left", left)


def _send_all(
    due: list[Ended], sendings: dict[str, tuple[int, float]], alerts: AlertResource, outlook: Outlook
) -> tuple[int, str]:
    """Returns how many alerts were sent, and what was wrong with the webhook; it is then left alone for this tick."""
    for n_sent, one in enumerate(due):
        run_id, problem = one.run.run_id, ""
        try:
            alerts.send(run_id, alert(one, outlook, alerts.link(run_id)))
        except OSError as error:
            n_tried = sendings.get(run_id, (0, 0.0))[0] + 1
            problem = f"the webhook failed {n_tried} times for {_what(one)}: {error}"
            sendings[run_id] = (n_tried, time.time() + INTERVAL_S * 2.0 ** (n_tried - 1))
        if not problem or sendings[run_id][0] >= MAX_SENDINGS:
            sendings.pop(run_id, None)
            outlook.instance.add_run_tags(run_id, {TOLD_TAG: run_id})
        if problem:
            return n_sent, problem
    return len(due), ""


def failures(outlook: Outlook) -> list[Ended]:
    """Returns the runs that failed for good and were not reported yet, oldest first."""
    now_s = time.time()
    runs = [one for one in outlook.attempts.all().values() if now_s - one.ended_s < MAX_AGE_S]
    found = [one for one in runs if one.run.tags.get(TOLD_TAG) != one.run.run_id and _is_final(one, outlook, now_s)]
    return sorted(found, key=lambda one: one.number)


def alert(one: Ended, outlook: Outlook, link: str | None) -> dict[str, Any]:
    """Returns what is sent about a run. `text` is what chat services show."""
    reason = outlook.reason(one)
    outcome = "refused" if reason.refused else "failed"
    ended_at = datetime.fromtimestamp(one.ended_s, UTC).isoformat(timespec="seconds")
    return {
        "id": one.run.run_id,
        "text": f"{_what(one)} {outcome}: {reason.text}" + (f" {link}" if link else ""),
        "outcome": outcome,
        "assets": sorted(key.to_user_string() for key in one.run.asset_selection or ()),
        "partition": _partition(one),
        "reason": reason.text,
        "run_id": one.run.run_id,
        "ended_at": ended_at,
        "link": link,
    }


def _is_final(one: Ended, outlook: Outlook, now_s: float) -> bool:
    if one.is_superseded or one.attempt(now_s).is_restarting or one.attempt(now_s).is_pardoned:
        return False
    if not one.tokens:
        return one.run.status == dg.DagsterRunStatus.FAILURE
    for token in one.tokens:
        ended = outlook.attempts.of_token(token)
        is_last = bool(ended) and ended[-1].run.run_id == one.run.run_id
        if is_last and outlook.verdict_on(ended, is_refused=bool(outlook.reason(one).refused)).is_final:
            return True
    return False


def _what(one: Ended) -> str:
    names = sorted(key.to_user_string() for key in one.run.asset_selection or ()) or [one.run.job_name]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    partition = _partition(one)
    return ", ".join(names[:3]) + more + (f" of {partition}" if partition else "")


def _partition(one: Ended) -> str:
    tags = one.run.tags
    ends = [tags[name] for name in (RANGE_START, RANGE_END) if name in tags]
    return " to ".join(ends) or tags.get("dagster/partition", "")


def _is_due(sending: tuple[int, float] | None) -> bool:
    return sending is None or not 0 < sending[1] - time.time() < INTERVAL_S * 2.0**MAX_SENDINGS


def _read(cursor: str | None) -> dict[str, tuple[int, float]]:
    """Returns how often each open alert was sent in vain, and when it is sent again; empty if that is damaged."""
    try:
        return {str(name): (int(n), float(at_s)) for name, (n, at_s) in json.loads(cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _answer(told: str, sendings: dict[str, tuple[int, float]]) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(told), cursor=json.dumps(sendings))
