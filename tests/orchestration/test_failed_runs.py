"""A run that failed for good is reported once, to a webhook that may itself fail, and asked for again by a person."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest
import yaml

from cellassets.storage.deployment import Deployment
from resources.alerts import AlertResource
from resources.places import DeploymentResource
from sensors import failed_runs as module
from sensors.attempts import Attempts
from sensors.failed_runs import MAX_SENDINGS, failed_runs
from sensors.outlook import Outlook


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


class Webhook:
    """A server on loopback that keeps what it got, and answers with `status`."""

    def __init__(self):
        got, self.status = [], 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got.append((self.headers["Idempotency-Key"], content))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.got = got
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def webhook(monkeypatch):
    opened = Webhook()
    monkeypatch.setenv("CELLASSETS_ALERT_WEBHOOK", opened.url)
    monkeypatch.setenv("CELLASSETS_UI_URL", "https://dagster.example/")
    yield opened
    opened.server.shutdown()
    opened.server.server_close()


@pytest.fixture
def tick(instance, tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "policy.yaml").write_text(yaml.safe_dump({"retries": {"max_attempts": 2, "first_delay_minutes": 0}}))
    deployment = DeploymentResource.of(Deployment.of({}, home=tmp_path, configs=configs))

    def tick(cursor=None):
        resources = {"deployment": deployment, "alerts": AlertResource()}
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
            return failed_runs(context)

    return tick


def fail(instance, *, work=None, asset="plate_store", message="the disk is full", **tags):
    own = {"dagster/partition": "E-1", **({"cellassets/work": work} if work else {}), **tags}
    run = dg.DagsterRun(
        "job", status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({dg.AssetKey(asset)}), tags=own
    )
    instance.add_run(run)
    instance.report_run_failed(run, message)
    return run.run_id


def test_a_failure_is_told_once_with_partition_reason_and_link(instance, tick, webhook):
    run_id = fail(instance)
    for _ in range(3):
        tick()
    ((key, content),) = webhook.got
    assert key == content["id"] == run_id
    assert content["assets"] == ["plate_store"]
    assert content["partition"] == "E-1"
    assert content["reason"] == "the disk is full"
    assert content["outcome"] == "failed"
    assert content["link"] == f"https://dagster.example/runs/{run_id}"
    assert content["text"] == f"plate_store of E-1 failed: the disk is full https://dagster.example/runs/{run_id}"


def test_work_that_is_asked_for_again_is_told_at_its_last_attempt(instance, tick, webhook):
    fail(instance, work="a" * 12)
    tick()
    assert webhook.got == []
    last = fail(instance, work="a" * 12)
    tick()
    assert [key for key, _ in webhook.got] == [last]


def test_a_cancelled_run_is_not_told(instance, tick, webhook):
    run = dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    instance.report_run_canceled(run)
    tick()
    assert webhook.got == []


def test_a_run_that_dagster_starts_again_is_not_told(instance, tick, webhook):
    run_id = fail(instance)
    instance.add_run_tags(run_id, {"dagster/will_retry": "true", "dagster/auto_retry_run_id": "another"})
    tick()
    assert webhook.got == []


def test_a_webhook_that_fails_is_tried_again_a_bounded_number_of_times(instance, tick, webhook):
    fail(instance)
    webhook.status = 500
    cursor = None
    for number in range(1, MAX_SENDINGS + 3):
        answer = tick(cursor)
        sendings = json.loads(answer.cursor)
        if number < MAX_SENDINGS:
            assert f"failed {number} times" in answer.skip_reason.skip_message
            assert tick(answer.cursor).cursor == answer.cursor, "not before its delay is over"
        cursor = json.dumps({run_id: (n, 0.0) for run_id, (n, _) in sendings.items()})
    assert len(webhook.got) == MAX_SENDINGS
    assert len({key for key, _ in webhook.got}) == 1


def test_a_webhook_that_comes_back_gets_what_waited(instance, tick, webhook):
    runs = [fail(instance), fail(instance, asset="leaderboard")]
    webhook.status = 503
    sendings = json.loads(tick().cursor)
    assert list(sendings) == runs[:1], "one failure is enough to leave it alone for this tick"
    webhook.status, webhook.got[:] = 200, []
    tick(json.dumps({runs[0]: (1, 0.0)}))
    assert [key for key, _ in webhook.got] == runs


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/nobody", "ftp://127.0.0.1/x", "http://[broken", "no address"])
def test_a_webhook_that_is_not_there_is_named_and_stops_nothing(instance, tick, monkeypatch, url):
    monkeypatch.setenv("CELLASSETS_ALERT_WEBHOOK", url)
    fail(instance)
    assert "the webhook failed 1 times for plate_store of E-1" in tick().skip_reason.skip_message


def test_without_a_webhook_the_tick_names_the_failures(instance, tick, monkeypatch):
    monkeypatch.delenv("CELLASSETS_ALERT_WEBHOOK", raising=False)
    assert tick().skip_reason.skip_message == "nothing failed for good"
    fail(instance)
    assert "plate_store of E-1: the disk is full" in tick().skip_reason.skip_message


@pytest.mark.parametrize("cursor", ["nonsense", "[]", '{"a": 5}', '{"a": ["x", "y"]}'])
def test_a_damaged_cursor_is_forgotten(instance, tick, webhook, cursor):
    fail(instance)
    tick(cursor)
    assert len(webhook.got) == 1


def test_a_run_started_again_by_a_person_is_told_again_if_it_fails(instance, tick, webhook):
    """Dagster copies the tags of the run that is started again."""
    first = fail(instance)
    tick()
    second = fail(instance, **dict(instance.get_run_by_id(first).tags), **{"dagster/parent_run_id": first})
    tick()
    assert [key for key, _ in webhook.got] == [first, second]


def test_failures_of_long_ago_are_history(instance, monkeypatch):
    fail(instance)
    outlook = Outlook(instance, Attempts().refresh(instance))
    assert len(module.failures(outlook)) == 1
    monkeypatch.setattr(module, "MAX_AGE_S", 0.0)
    assert module.failures(outlook) == []
