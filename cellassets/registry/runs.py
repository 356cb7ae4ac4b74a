"""Training runs in MLflow: started, resumed, measured and ended.

Parameters, curves and files of a run are for people. What assets decide by stands in commit records, not here.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cellassets.errors import RegistryError, StaleArtifact
from cellassets.registry.opening import Connection, create_unless_there, pages
from cellassets.registry.patience import PATIENCE_S
from cellassets.registry.relocation import EXPERIMENT_NAME, check_root, is_below

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMETER_MAX_CHARACTERS = 6000  # MLflow refuses longer values
PARAMETERS_PER_REQUEST = 100  # MLflow refuses more in one request
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedExperiment:
    """An experiment that a training reads.

    Attributes:
        name: experiment_id.
        fingerprint: fingerprint of its store.
        place: where the store is, a path or an fsspec URL.
        context: what it is read for, `training` or `validation`.
    """

    name: str
    fingerprint: str
    place: str
    context: Literal["training", "validation"]


class Runs(Connection):
    """The training runs of one deployment."""

    def start_run(self, name: str, *, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Returns the id of a new run, which has the status RUNNING.

        Args:
            name: name of the run in MLflow's UI.
            parameters: JSON-like values; nested keys are joined by dots.
            tags: tags of the run.

        Raises:
            RegistryError: MLflow has no experiment for the runs, or it was deleted, or it keeps its files elsewhere.
        """
        from mlflow.entities import Param

        client = self.client()
        run_id: str = client.create_run(self.experiment_id(), run_name=name, tags=dict(tags)).info.run_id
        values = [Param(key, text[:PARAMETER_MAX_CHARACTERS]) for key, text in _flat(parameters)]
        for start in range(0, len(values), PARAMETERS_PER_REQUEST):
            client.log_batch(run_id, params=values[start : start + PARAMETERS_PER_REQUEST])
        return run_id

    def take_up_run(self, name: str, tags: Mapping[str, str]) -> str | None:
        """Returns the unfinished run with a name and tags, which gets the status RUNNING again; None if there is none.

        Other runs of this name that a killed process left as RUNNING get the status KILLED.
        """
        client = self.client()
        unfinished = f"attributes.run_name = '{name}' and attributes.status != 'FINISHED'"
        found = None
        for run in list(pages(client.search_runs, [self.experiment_id()], unfinished)):
            uri = run.info.artifact_uri
            is_here = is_below(uri, self.artifact_root)  # otherwise its files would go to an old place
            if found is None and is_here and tags.items() <= run.data.tags.items():
                found = str(run.info.run_id)
                client.update_run(found, status="RUNNING")
            elif run.info.status == "RUNNING":
                self.end_run(run.info.run_id, "KILLED")
        return found

    def log_json(self, run_id: str, values: Mapping[str, Any], name: str) -> None:
        """Stores JSON-like values as a file of a run."""
        self.client().log_dict(run_id, dict(values), name)

    def log_experiments(self, run_id: str, experiments: Sequence["TrainedExperiment"]) -> None:
        """Notes the experiments that a run reads as its datasets, which MLflow's UI shows beside the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(one.name, one.fingerprint, source_type="cellassets", source=json.dumps({"uri": one.place})),
                [InputTag("mlflow.data.context", one.context)],
            )
            for one in experiments
        ]
        self.client().log_inputs(run_id, inputs)

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], *, step: int, patience_s: float = PATIENCE_S
    ) -> None:
        """Adds one point to the curve of each metric.

        Raises:
            RegistryError: MLflow did not answer in time.
        """
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now_ms = get_current_time_millis()
        points = [Metric(key, value, now_ms, step) for key, value in metrics.items()]
        self.client(patience_s).log_batch(run_id, metrics=points)

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Returns the steps at which the curve of a metric has a point.

        Raises:
            RegistryError: MLflow did not answer in time.
        """
        return {int(point.step) for point in self.client().get_metric_history(run_id, metric)}

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run.

        Raises:
            RegistryError: MLflow did not answer in time.
        """
        from mlflow.entities import RunTag

        self.client().log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def end_run(self, run_id: str, status: RunStatus, *, patience_s: float = PATIENCE_S) -> None:
        """Sets the final status of a run: FINISHED, FAILED (an error) or KILLED (terminated from outside)."""
        self.client(patience_s).set_terminated(run_id, status)

    @contextmanager
    def ended_on_error(self, run_id: str) -> Iterator[None]:
        """Ends a run if the block does not reach its end: FAILED after an error, KILLED after an interruption.

        An interruption is any exception that is not an `Exception`: `KeyboardInterrupt`, `SystemExit`, or what an
        orchestrator raises when it receives SIGTERM. After `StaleArtifact` the run is left to the process that took
        over. Every exception is raised again.
        """
        try:
            yield
        except StaleArtifact:
            raise
        except BaseException as error:
            self._end_after(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise

    def finish_runs(
        self, name: str, tags: Mapping[str, str], *, run_id: str | None, patience_s: float = PATIENCE_S
    ) -> None:
        """Ends the runs of work that is done as FINISHED. Runs that ended as FINISHED stay as they are.

        Args:
            name: name of the runs.
            tags: tags of the runs that are ended if they have the status RUNNING.
            run_id: a run that is ended whatever its status is, such as KILLED after the work was done; None for none.
            patience_s: how long a request is repeated while MLflow does not answer, in seconds.

        Raises:
            RegistryError: MLflow did not answer in time, or the experiment of the runs was deleted.
        """
        client = self.client(patience_s)
        unfinished = f"attributes.run_name = '{name}' and attributes.status != 'FINISHED'"
        for run in list(pages(client.search_runs, [self.experiment_id(client)], unfinished)):
            is_running = run.info.status == "RUNNING" and tags.items() <= run.data.tags.items()
            if is_running or run.info.run_id == run_id:
                self.end_run(run.info.run_id, "FINISHED", patience_s=patience_s)

    def _end_after(self, run_id: str, status: RunStatus) -> None:
        """Ends a run during an exception, which must not be hidden by a registry that does not answer."""
        from mlflow.exceptions import MlflowException

        try:
            self.end_run(run_id, status, patience_s=0.0)
        except (MlflowException, RegistryError) as error:
            logger.warning("run %s could not be marked as %s in MLflow: %s", run_id, status, error)

    def experiment_id(self, client: "MlflowClient | None" = None) -> str:
        """Returns the number of MLflow's experiment for the runs, which is created if it does not exist.

        Args:
            client: asks MLflow; None for one with patience.

        Raises:
            RegistryError: it was deleted, or cannot be created.
        """
        client = client or self.client()
        if client.get_experiment_by_name(EXPERIMENT_NAME) is None:
            create_unless_there(client.create_experiment, EXPERIMENT_NAME, artifact_location=self.artifact_root or None)
        experiment = client.get_experiment_by_name(EXPERIMENT_NAME)
        if experiment is None:
            message = (
                f"MLflow at {self.tracking_uri} has no experiment {EXPERIMENT_NAME!r} and did not create it; create "
                "the experiment by hand, or check the permissions"
            )
            raise RegistryError(message)
        number = str(experiment.experiment_id)
        if experiment.lifecycle_stage != "active":
            message = (
                f"the experiment {EXPERIMENT_NAME!r} (number {number}) of MLflow at {self.tracking_uri} was deleted; "
                f"restore it with `mlflow experiments restore --experiment-id {number}` and MLFLOW_TRACKING_URI set to "
                "this address"
            )
            raise RegistryError(message)
        check_root(experiment.artifact_location, self.artifact_root)
        return number


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
