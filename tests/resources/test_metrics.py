"""The metrics for Prometheus: values from real runs and attempts, and a text that follows the format."""

import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
import pytest
import yaml

from cellassets.storage.deployment import Deployment
from cellassets.storage.ledger import Attempt, Ledger
from resources.metrics import Metric, MetricsServer, all_metrics, exposition

# Source: Prometheus text exposition format 0.0.4
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")
ATTEMPT = Attempt(
    attempt="a",
    run_id="run-1",
    asset="site_embeddings",
    experiment="E-1",
    dataset=None,
    model="m.v1",
    recipe=None,
    started_at="2026-11-27T10:00:00+00:00",
    wall_s=60.0,
    outcome="made",
    cores=8.0,
    memory_gib=32.0,
    gpus=0,
    n_images=600,
    n_sites=100,
    currency="EUR",
    cost=0.5,
)


def parsed(text):
    """Values by name and labels; refuses a text that does not follow the format."""
    types, values = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            _, keyword, name, rest = line.split(" ", 3)
            assert keyword in ("HELP", "TYPE")
            if keyword == "TYPE":
                assert name not in types, "one type for each name"
                types[name] = rest
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        assert found[1] in types, "the type comes first"
        key = (found[1], found[2] or "")
        assert key not in values, "each value once"
        values[key] = float(found[3])
    return types, values


@pytest.fixture
def home(tmp_path):
    ledger = Ledger(Deployment.of({}, home=tmp_path).lake.catalogue.url)
    for changes in (
        {},
        {"attempt": "b", "wall_s": 30.0, "outcome": "interrupted", "cost": 0.25},
        {"attempt": "c", "wall_s": 0.5, "outcome": "reused", "cost": 0.0},
        {"attempt": "d", "wall_s": 10.0, "outcome": "running", "currency": None, "cost": None, "n_images": None},
        {"attempt": "e", "asset": "benchmark/mp_value", "n_images": None, "n_sites": None, "currency": "USD"},
    ):
        ledger.note(replace(ATTEMPT, **changes))
    return tmp_path


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@contextmanager
def served(home, instance):
    with MetricsServer(("127.0.0.1", 0), {"CELLASSETS_HOME": str(home)}, instance) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_attempts_are_summed_by_asset_and_outcome(home, instance):
    types, values = parsed(all_metrics({"CELLASSETS_HOME": str(home)}, instance))
    assert types["cellassets_attempts_total"] == "counter"
    expected = {
        ("cellassets_attempts_total", 'asset="site_embeddings",outcome="made"'): 1,
        ("cellassets_attempts_total", 'asset="site_embeddings",outcome="interrupted"'): 1,
        ("cellassets_attempts_total", 'asset="site_embeddings",outcome="reused"'): 1,
        ("cellassets_attempts_open", 'asset="site_embeddings"'): 1,
        ("cellassets_images_total", 'asset="site_embeddings"'): 600,
        ("cellassets_sites_total", 'asset="site_embeddings"'): 100,
        ("cellassets_images_total", 'asset="benchmark/mp_value"'): 0,
        ("cellassets_pod_seconds_total", 'asset="site_embeddings"'): 100.5,
        ("cellassets_cost_total", 'asset="site_embeddings",currency="EUR"'): 0.75,
        ("cellassets_cost_total", 'asset="benchmark/mp_value",currency="USD"'): 0.5,
    }
    assert {key: values[key] for key in expected} == expected


def test_runs_are_counted_by_status_and_retries_among_them(home, instance):
    @dg.op
    def work(context):
        if context.run.tags.get("fails"):
            raise ValueError

    @dg.job
    def worked():
        work()

    worked.execute_in_process(instance=instance)
    for number in ("1", "2"):
        tags = {"fails": "yes", "dagster/retry_number": number}
        worked.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    instance.create_run_for_job(worked, status=dg.DagsterRunStatus.STARTING)
    types, values = parsed(all_metrics({"CELLASSETS_HOME": str(home)}, instance))
    assert types["cellassets_runs"] == "gauge"
    found = {labels: value for (name, labels), value in values.items() if name == "cellassets_runs" and value}
    assert found == {'status="success"': 1, 'status="failure"': 2, 'status="starting"': 1}
    assert values["cellassets_retried_runs", ""] == 2


def test_labels_are_escaped():
    metric = Metric("m", "gauge", "Anything.")
    metric.set(1.0, asset='a"b\\c\nd')
    assert exposition([metric]).splitlines()[2] == 'm{asset="a\\"b\\\\c\\nd"} 1.0'
    parsed(exposition([metric]))


def test_the_server_answers_and_says_when_it_cannot_read(home, instance):
    with served(home, instance) as url, urllib.request.urlopen(f"{url}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        _, values = parsed(answer.read().decode())
        assert values["cellassets_images_total", 'asset="site_embeddings"'] == 600
    with served(home, instance) as url, pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{url}/")
    refused.value.close()
    catalogue = home / "lake" / "catalogue.db"
    catalogue.write_bytes(b"not a database" * 1000)
    with served(home, instance) as url, pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(f"{url}/metrics")
    assert "catalogue" not in refused.value.read().decode(), "details are in the log only"
    refused.value.close()


@pytest.mark.slow
def test_the_program_prints_them_once(home, tmp_path):
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    environment = {**os.environ, "CELLASSETS_HOME": str(home), "DAGSTER_HOME": str(dagster_home)}
    command = [sys.executable, "-m", "resources.metrics", "--once"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    _, values = parsed(done.stdout)
    assert values["cellassets_runs", 'status="queued"'] == 0
