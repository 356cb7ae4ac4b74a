"""The runs of a family of variants: tagged when they start, and their curves read while they train."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cellassets.errors import RegistryError
from cellassets.registry.opening import pages
from cellassets.registry.runs import Runs

FAMILY_TAG = "family"  # name of the recipe file, of runs and of registered versions
COMPARED_TAG = "compared_with"  # equal for runs that can be compared
OUTCOME_TAG = "outcome"  # stopped or diverged; a trained variant has none


@dataclass(frozen=True)
class FamilyRun:
    """The newest run of one variant.

    Attributes:
        name: name of the variant.
        status: status in MLflow: RUNNING, FINISHED, FAILED or KILLED.
        outcome: stopped or diverged; empty for any other.
        curve: the metric by epoch.
    """

    name: str
    status: str
    outcome: str
    curve: Mapping[int, float]


@dataclass
class FamilyRuns:
    """The other runs of a family.

    Attributes:
        runs: MLflow.
        tags: tags that all comparable runs of the family have.
        metric: whose curves are read.
        but: name of the variant that asks.
    """

    runs: Runs
    tags: Mapping[str, str]
    metric: str
    but: str
    _ended: dict[str, FamilyRun] = field(default_factory=dict)

    def read(self) -> list[FamilyRun]:
        """Returns the newest run of every other variant. The curves of finished runs are read once.

        Raises:
            RegistryError: MLflow does not answer. It is asked once, without patience.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._read()
        except MlflowException as error:
            message = f"MLflow at {self.runs.tracking_uri} does not answer: {error.message}"
            raise RegistryError(message) from error

    def _read(self) -> list[FamilyRun]:
        client = self.runs.client(patience_s=0.0)
        experiment = self.runs.experiment_id(client)
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in self.tags.items())
        newest: dict[str, Any] = {}
        for run in pages(client.search_runs, [experiment], wanted):
            name, before = run.info.run_name, newest.get(run.info.run_name)
            if name != self.but and (before is None or before.info.start_time < run.info.start_time):
                newest[name] = run
        found = []
        for name, run in newest.items():
            run_id, status = run.info.run_id, run.info.status
            if run_id not in self._ended:
                points = client.get_metric_history(run_id, self.metric)
                one = FamilyRun(
                    name, status, run.data.tags.get(OUTCOME_TAG, ""), {point.step: point.value for point in points}
                )
                if status != "FINISHED":
                    found.append(one)
                    continue
                self._ended[run_id] = one
            found.append(self._ended[run_id])
        return found
