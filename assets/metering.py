"""Measures what making a partition takes, and notes it in the ledger and in the asset's metadata.

Nothing depends on it: where the ledger cannot be written, the work goes on.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from cellassets.errors import CellAssetsError, is_refusal
from cellassets.stages.stage import Context, Stage
from resources.places import DeploymentResource
from resources.runs import pod_of

if TYPE_CHECKING:
    from cellassets.progress import Progress
    from cellassets.stages.costs import Prices
    from cellassets.storage.artifact import Record
    from cellassets.storage.deployment import Deployment
    from cellassets.storage.ledger import Attempt, Outcome
    from cellassets.storage.plan import Plan

REPORT_EVERY_S = 60.0


class Meter:
    """One attempt to make one partition."""

    def __init__(
        self, context: dg.AssetExecutionContext, stage: Stage, deployment: "Deployment", keys: Mapping[str, str]
    ) -> None:
        from cellassets.stages.costs import load_prices
        from cellassets.storage.ledger import Attempt

        self._log = context.log
        self._deployment = deployment
        self._keys = keys
        self._started_s = self._reported_s = time.monotonic()
        self._is_made = False
        self._prices: Prices | None = None
        try:
            self._prices = load_prices(deployment.configs)
        except CellAssetsError as error:
            self._log.warning("no cost is computed: %s", error)
        request = pod_of(context.run, context.instance, os.environ)
        self.attempt = Attempt(
            attempt=uuid.uuid4().hex,
            run_id=context.run.run_id,
            asset=stage.name,
            experiment=keys.get("experiment"),
            dataset=keys.get("dataset"),
            model=keys.get("model"),
            recipe=keys.get("recipe", keys.get("search")),
            started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            wall_s=0.0,
            outcome="running",
            cores=request.cores,
            memory_gib=request.memory_gib,
            gpus=request.gpus,
        )
        self.stage = replace(stage, make=self._noting(stage))

    def noting(self, progress: "Progress") -> "Progress":
        """Returns a progress callback that also reports the time to the ledger, at most once per minute."""

        def report(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
            progress(n_done, n_total, what, note=note)
            if time.monotonic() - self._reported_s >= REPORT_EVERY_S:
                self.report("running")

        return report

    def report(self, outcome: "Outcome") -> None:
        """Writes the time and the outcome so far to the ledger."""
        from sqlalchemy.exc import SQLAlchemyError

        from cellassets.storage.ledger import Ledger

        self._reported_s = time.monotonic()
        self.attempt = self._with_cost(
            replace(self.attempt, wall_s=self._reported_s - self._started_s, outcome=outcome)
        )
        try:
            Ledger(self._deployment.lake.catalogue.url).note(self.attempt)
        except (SQLAlchemyError, CellAssetsError, OSError) as error:
            self._log.warning("the ledger could not be written: %s", error)

    def end(self, error: BaseException | None) -> None:
        """Writes how the attempt ended."""
        from sqlalchemy.exc import SQLAlchemyError

        from cellassets.stages.catalogue import open_snapshot
        from cellassets.stages.costs import images_and_sites

        if not self._is_made:
            self.report(_outcome(error, is_made=False))
            return
        try:
            n_images, n_sites = images_and_sites(open_snapshot(self._deployment), self._keys)
        except (SQLAlchemyError, CellAssetsError, OSError) as problem:
            self._log.warning("images could not be counted: %s", problem)
            n_images = n_sites = None
        self.attempt = replace(self.attempt, n_images=n_images, n_sites=n_sites)
        self.report(_outcome(error, is_made=self._is_made))

    def metadata(self) -> dict[str, Any]:
        """Returns what the Dagster UI shows; empty where nothing had to be made."""
        if not self._is_made:
            return {}
        attempt = self.attempt
        pod = f"{attempt.cores:g} cores, {attempt.memory_gib:g} GiB, {attempt.gpus:g} GPUs"
        shown = {"pod_s": round(attempt.wall_s, 3), "pod": pod}
        if attempt.cost is None or attempt.currency is None:
            return shown
        name = f"cost_{attempt.currency.lower()}"
        per_thousand = {f"{name}_per_1000_images": 1000 * attempt.cost / attempt.n_images} if attempt.n_images else {}
        return {**shown, name: attempt.cost, **per_thousand}

    def _noting(self, stage: Stage) -> Any:
        def make(context: Context, plan: "Plan") -> "Record":
            self._is_made = True
            return stage.make(context, plan)

        return make

    def _with_cost(self, attempt: "Attempt") -> "Attempt":
        if self._prices is None:
            return attempt
        cost = self._prices.cost(attempt.wall_s, cores=attempt.cores, memory_gib=attempt.memory_gib, gpus=attempt.gpus)
        return replace(attempt, currency=self._prices.currency, cost=cost)


@contextmanager
def metered(
    context: dg.AssetExecutionContext, stage: Stage, deployment: DeploymentResource, keys: Mapping[str, str]
) -> Iterator[Meter]:
    """Yields the meter of one partition; carry out `meter.stage` with `meter.noting(progress)`."""
    meter = Meter(context, stage, deployment.open(), keys)
    meter.report("running")
    try:
        yield meter
    except BaseException as error:
        meter.end(error)
        raise
    meter.end(None)


def _outcome(error: BaseException | None, *, is_made: bool) -> "Outcome":
    if error is None:
        return "made" if is_made else "reused"
    if isinstance(error, Exception) and not isinstance(error, dg.RetryRequested):
        return "refused" if is_refusal(error) else "failed"
    return "interrupted"
