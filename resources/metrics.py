"""Metrics for Prometheus: what runs did, from Dagster's instance, and what attempts took, from the ledger.

    cellassets-metrics                     serves http://127.0.0.1:9464/metrics
    cellassets-metrics --once > FILE       prints them once, for node_exporter's textfile collector

Everything is read when it is asked for; nothing is kept in memory. docs/costs.md lists the metrics.
Source of the format: Prometheus text exposition format 0.0.4.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal

import dagster as dg

if TYPE_CHECKING:
    from cellassets.storage.ledger import Ledger

HOST, PORT, PATH = "127.0.0.1", 9464, "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RETRY_TAG = "dagster/retry_number"
MAX_RETRY_NUMBER = 100  # more than any stage may have
STATUSES = tuple(dg.DagsterRunStatus)
Labels = tuple[tuple[str, str], ...]


@dataclass
class Metric:
    """One metric with its values by labels."""

    name: str
    kind: Literal["counter", "gauge"]
    about: str
    values: dict[Labels, float] = field(default_factory=dict)

    def set(self, value: float, **labels: str) -> None:
        """Sets the value of some labels."""
        self.values[tuple(sorted(labels.items()))] = value

    def lines(self) -> Iterator[str]:
        """Yields the lines of the exposition."""
        yield f"# HELP {self.name} {self.about}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in sorted(self.values.items()):
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            yield f"{self.name}{{{shown}}} {value!r}" if shown else f"{self.name} {value!r}"


def exposition(metrics: Sequence[Metric]) -> str:
    """Returns metrics in Prometheus' text format."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def run_metrics(instance: dg.DagsterInstance) -> list[Metric]:
    """Returns how many runs Dagster knows, by status, and how many of them are retries."""
    runs = Metric(
        "cellassets_runs", "gauge", "Runs that Dagster knows, by status. Those queued are the queue's length."
    )
    for status in STATUSES:
        runs.set(float(instance.get_runs_count(dg.RunsFilter(statuses=[status]))), status=status.value.lower())
    retries = Metric("cellassets_retried_runs", "gauge", "Runs that Dagster knows which retry another run.")
    numbers = [str(number) for number in range(1, MAX_RETRY_NUMBER + 1)]
    retries.set(float(instance.get_runs_count(dg.RunsFilter(tags={RETRY_TAG: numbers}))))
    return [runs, retries]


def attempt_metrics(ledger: "Ledger") -> list[Metric]:
    """Returns what attempts to make partitions did and took, by asset."""
    ended = Metric(
        "cellassets_attempts_total", "counter", "Attempts that ended, by outcome. Those reused found their work done."
    )
    running = Metric("cellassets_attempts_open", "gauge", "Attempts that did not end: under way, or killed.")
    images = Metric("cellassets_images_total", "counter", "Image files of the partitions that were made.")
    sites = Metric("cellassets_sites_total", "counter", "Sites of the partitions that were made.")
    seconds = Metric("cellassets_pod_seconds_total", "counter", "Time of all attempts.")
    cost = Metric("cellassets_cost_total", "counter", "Cost of all attempts.")
    spent: dict[str, float] = {}
    paid: dict[tuple[str, str], float] = {}
    for total in ledger.totals():
        spent[total.asset] = spent.get(total.asset, 0.0) + total.wall_s
        if total.currency is not None:
            place = (total.asset, total.currency)
            paid[place] = paid.get(place, 0.0) + total.cost
        if total.outcome == "running":
            _add(running, float(total.n_attempts), asset=total.asset)
            continue
        _add(ended, float(total.n_attempts), asset=total.asset, outcome=total.outcome)
        if total.outcome == "made":
            _add(images, float(total.n_images), asset=total.asset)
            _add(sites, float(total.n_sites), asset=total.asset)
    for asset, value in spent.items():
        seconds.set(value, asset=asset)
    for (asset, currency), value in paid.items():
        cost.set(value, asset=asset, currency=currency)
    return [ended, running, images, sites, seconds, cost]


def all_metrics(environment: Mapping[str, str], instance: dg.DagsterInstance) -> str:
    """Returns the metrics of the deployment that the environment names."""
    from cellassets.storage.deployment import Deployment
    from cellassets.storage.ledger import Ledger

    ledger = Ledger(Deployment.of(environment).lake.catalogue.url)
    return exposition([*run_metrics(instance), *attempt_metrics(ledger)])


class MetricsServer(ThreadingHTTPServer):
    """Answers GET /metrics."""

    daemon_threads = True

    def __init__(self, place: tuple[str, int], environment: Mapping[str, str], instance: dg.DagsterInstance) -> None:
        super().__init__(place, _Handler)
        self.environment = environment
        self.instance = instance


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer

    def do_GET(self) -> None:
        """Answers one request."""
        from sqlalchemy.exc import SQLAlchemyError

        from cellassets.errors import CellAssetsError

        if self.path != PATH:
            self._answer(404, f"only {PATH} is here\n")
            return
        try:
            self._answer(200, all_metrics(self.server.environment, self.server.instance))
        except (SQLAlchemyError, CellAssetsError, dg.DagsterError, OSError) as error:
            self.log_error("metrics could not be read: %s", error)
            self._answer(503, "the metrics could not be read; the log says why\n")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs no request that was answered: there is one every few seconds."""

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves or prints the metrics; the program `cellassets-metrics`."""
    parser = argparse.ArgumentParser(prog="cellassets-metrics", description="Metrics for Prometheus.")
    parser.add_argument("--once", action="store_true", help="print the metrics and end")
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default {HOST})")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on (default {PORT})")
    given = parser.parse_args(arguments)
    if "DAGSTER_HOME" not in os.environ:
        parser.error(
            "DAGSTER_HOME must name the folder of dagster.yaml (demo/dagster for the demo), and CELLASSETS_HOME or "
            "CELLASSETS_LAKE the deployment"
        )
    with dg.DagsterInstance.get() as instance:
        if given.once:
            sys.stdout.write(all_metrics(os.environ, instance))
            return 0
        with MetricsServer((given.host, given.port), os.environ, instance) as server:
            server.serve_forever()
    return 0


def _add(metric: Metric, value: float, **labels: str) -> None:
    known = metric.values.get(tuple(sorted(labels.items())), 0.0)
    metric.set(known + value, **labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


if __name__ == "__main__":
    sys.exit(main())
