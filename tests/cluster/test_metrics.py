"""The metrics of the deployment, as Prometheus reads them, against Dagster's API and the database of the lake."""

import urllib.request
from collections import Counter

import pytest

pytestmark = [pytest.mark.timeout(1800)]
UNFINISHED = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
ATTEMPTS = "SELECT asset, outcome, count(*) AS n, sum(wall_s) AS wall_s, sum(n_images) AS n_images FROM attempts"


@pytest.fixture
def quiet(landed):
    """The platform while no run is queued or running."""
    landed.wait(
        "no run is under way", lambda: not any(run["status"] in UNFINISHED for run in landed.runs()), timeout_s=600
    )
    return landed


def scraped(url) -> dict[str, float]:
    """Each sample by its name with its labels, as they are written."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = answer.read().decode().splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def test_prometheus_finds_the_pod_by_its_annotations(platform):
    [pod] = platform.cluster.get("pods", "-l", "app.kubernetes.io/component=metrics")
    annotations = {name: pod["metadata"]["annotations"][f"prometheus.io/{name}"] for name in ("scrape", "port", "path")}
    assert annotations == {"scrape": "true", "port": "9464", "path": "/metrics"}
    [container] = pod["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [9464]


def test_the_figures_are_those_of_dagster_and_of_the_ledger(quiet, metrics_url):
    runs = Counter(run["status"].lower() for run in quiet.runs())
    rows = quiet.select(f"{ATTEMPTS} GROUP BY asset, outcome")
    found = scraped(metrics_url)
    of_runs = {name: value for name, value in found.items() if name.startswith("cellassets_runs{") and value}
    assert of_runs == {f'cellassets_runs{{status="{status}"}}': n for status, n in runs.items()}
    assert of_runs['cellassets_runs{status="success"}'] >= 8
    n_retried = sum("dagster/retry_number" in run["tags"] for run in quiet.runs())
    assert found["cellassets_retried_runs"] == n_retried
    for row in rows:
        if row["outcome"] != "running":
            assert found[f'cellassets_attempts_total{{asset="{row["asset"]}",outcome="{row["outcome"]}"}}'] == row["n"]
    for asset in {row["asset"] for row in rows}:
        seconds = sum(row["wall_s"] for row in rows if row["asset"] == asset)
        assert found[f'cellassets_pod_seconds_total{{asset="{asset}"}}'] == pytest.approx(seconds)
    [stored] = [row for row in rows if (row["asset"], row["outcome"]) == ("plate_store", "made")]
    assert found['cellassets_images_total{asset="plate_store"}'] == stored["n_images"] > 0
