"""Starts one Dagster backfill of everything that is missing, as a person would do in the UI.

    .venv/bin/python scripts/backfill.py U2OS                       # embeds a dataset with the active models, or
                                                                    # maps it if its experiments are embedded already
    .venv/bin/python scripts/backfill.py --benchmark known_relationships         # scores every published map
    .venv/bin/python scripts/backfill.py --benchmark known_relationships U2OS    # scores the maps of one dataset

The backfill is queued in the instance that DAGSTER_HOME names (by default the demo's). A running daemon does the work;
`make ui` starts one. The sensor `stale_scores` then asks for maps, scores and the leaderboard.
"""

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.schema import create_schema

from cellassets.benchmarks.registry import find_benchmark
from cellassets.cli.output import grouped
from cellassets.errors import CellAssetsError
from cellassets.reconcile.work import Waiting
from cellassets.stages.benchmark import kind_of
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.datasets import dataset_experiments, dataset_names
from cellassets.stages.models import active_models
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import state_of
from cellassets.storage.artifact import describe_address
from cellassets.storage.deployment import Deployment, Home
from resources.partitions import partition_key

REPOSITORY = Path(__file__).parents[1]
WORKSPACE = REPOSITORY / "workspace.yaml"
MUTATION = """
mutation backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""


@dataclass(frozen=True)
class Missing:
    """The partitions to backfill of one asset, as keys by axis, and those that cannot be made now."""

    asset: str
    partitions: list[dict[str, str]] = field(default_factory=list)
    left_out: list[Waiting] = field(default_factory=list)


def missing_embeddings(snapshot: Snapshot, dataset_id: str) -> Missing:
    """Returns the embedding tables of a dataset by the active models that are missing or out of date.

    Raises:
        DatasetError: there is no such dataset, or it cannot be used.
    """
    missing = Missing("site_embeddings")
    for experiment_id in dataset_experiments(snapshot, dataset_id):
        for entry in active_models(snapshot):
            state = state_of(snapshot, missing.asset, experiment_id, entry.key)
            if state.status == "due":
                missing.partitions.append({"experiment": experiment_id, "model": entry.key})
            elif state.status == "waiting":
                where = describe_address(missing.asset, (experiment_id, entry.key))
                missing.left_out.append(Waiting(where, state.reason))
    return missing


def missing_maps(snapshot: Snapshot, dataset_id: str) -> Missing:
    """Returns the maps of a dataset by the active models that are missing or out of date; their inputs are there."""
    keys = [{"dataset": dataset_id, "model": entry.key} for entry in active_models(snapshot)]
    asset = "perturbation_map"
    return Missing(asset, [one for one in keys if state_of(snapshot, asset, *one.values()).status == "due"])


def missing_scores(snapshot: Snapshot, benchmark_name: str, dataset_id: str | None) -> Missing:
    """Returns the published maps, of any model, that a benchmark has not scored as it would now.

    A map that is itself out of date is scored too, in its present state. Maps that cannot be scored, because settings
    or annotations cannot be read, are left out.

    Raises:
        BenchmarkError: there is no such benchmark.
        DatasetError: there is no such dataset, or it cannot be used.
    """
    find_benchmark(benchmark_name)
    if dataset_id is not None:
        dataset_experiments(snapshot, dataset_id)
    missing = Missing(kind_of(benchmark_name))
    for dataset in dataset_names(snapshot) if dataset_id is None else (dataset_id,):
        for model_key in snapshot.keys("perturbation_map", dataset):
            state = state_of(snapshot, missing.asset, dataset, model_key)
            scores = snapshot.find(missing.asset, dataset, model_key)
            if not state.plan_fingerprint:
                missing.left_out.append(Waiting(describe_address(missing.asset, (dataset, model_key)), state.reason))
            elif scores is None or scores.plan_fingerprint != state.plan_fingerprint:
                missing.partitions.append({"dataset": dataset, "model": model_key})
    return missing


def add_partitions(instance: dg.DagsterInstance, missing: Missing) -> None:
    """Adds the partitions that Dagster does not know; those of inactive models and datasets may have been removed."""
    for axis in sorted({axis for keys in missing.partitions for axis in keys}):
        known = set(instance.get_dynamic_partitions(axis))
        instance.add_dynamic_partitions(axis, sorted({keys[axis] for keys in missing.partitions} - known))


def launch(workspace: WorkspaceProcessContext, asset: str, partitions: list[str]) -> str:
    """Returns the identifier of a backfill, after queueing it for these partitions of an asset."""
    params = {
        "assetSelection": [{"path": asset.split("/")}],
        "partitionNames": partitions,
        "tags": [{"key": "cellassets/asked_by", "value": "scripts/backfill.py"}],
        "fromFailure": False,
    }
    context = workspace.create_request_context()
    variables = {"params": params}
    answer = asyncio.run(create_schema().execute_async(MUTATION, context_value=context, variable_values=variables))
    if answer.data is None:
        sys.exit(f"the backfill was not queued: {answer.errors}")
    result = answer.data["launchPartitionBackfill"]
    if result["__typename"] != "LaunchBackfillSuccess":
        sys.exit(f"the backfill was not queued: {result['__typename']}: {result.get('message', '')}")
    return str(result["backfillId"])


def enter(home: Path | None, configs: Path | None) -> Deployment:
    """Returns the deployment to backfill, and sets the environment for the processes that are started on it.

    It is the given home, or what the environment names, or the demo.

    Raises:
        ConfigError: there is no deployment, or its settings folder does not exist.
    """
    if home is None and not os.environ.get("DAGSTER_HOME"):
        home = Path(os.environ.get("CELLASSETS_HOME") or REPOSITORY / "demo")
    deployment = Deployment.of(os.environ, home=home, configs=configs).require()
    os.environ.update(deployment.environment())
    if home is not None:
        os.environ["DAGSTER_HOME"] = str(Home(home.absolute()).dagster_home)
    if not Path(os.environ["DAGSTER_HOME"], "dagster.yaml").exists():
        sys.exit(f"{os.environ['DAGSTER_HOME']}: no dagster.yaml in it; give the deployment's folder with --home")
    return deployment


def queue(missing: Missing) -> None:
    """Queues the backfill and prints its identifier; prints what is left out, and why. Ends with 1 if all is."""
    for line in grouped((item.reason, item.what) for item in missing.left_out):
        print(f"left out: {line}", file=sys.stderr)
    if not missing.partitions:
        if missing.left_out:
            sys.exit("nothing is queued")
        print(f"{missing.asset}: everything is there already")
        return
    keys = [str(partition_key(partition)) for partition in missing.partitions]
    target = WorkspaceFileTarget([str(WORKSPACE)])
    with dg.DagsterInstance.get() as instance:
        add_partitions(instance, missing)
        with WorkspaceProcessContext(instance, target, code_server_log_level="WARNING") as workspace:
            backfill_id = launch(workspace, missing.asset, keys)
    print(f"backfill {backfill_id} of {len(keys)} partitions of {missing.asset} is queued")


def main() -> None:
    """Queues the backfill that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_id", nargs="?")
    parser.add_argument("--benchmark", help="the benchmark to score maps with")
    parser.add_argument("--home", type=Path, help="a local deployment, instead of what the environment names")
    parser.add_argument("--configs", type=Path, help="its settings folder, instead of what home or environment name")
    chosen = parser.parse_args()
    if chosen.dataset_id is None and chosen.benchmark is None:
        parser.error("name a dataset to embed, or give --benchmark")
    try:
        snapshot = open_snapshot(enter(chosen.home, chosen.configs))
        if chosen.benchmark is not None:
            missing = missing_scores(snapshot, chosen.benchmark, chosen.dataset_id)
        elif not active_models(snapshot):
            sys.exit("no active model is registered")
        else:
            missing = missing_embeddings(snapshot, chosen.dataset_id)
            if not (missing.partitions or missing.left_out):
                missing = missing_maps(snapshot, chosen.dataset_id)
    except CellAssetsError as error:
        sys.exit(str(error))
    queue(missing)


if __name__ == "__main__":
    main()
