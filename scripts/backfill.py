"""Starts one Dagster backfill of everything that is missing, as a person would do in the UI.

    .venv/bin/python scripts/backfill.py U2OS                       # embeds a dataset with the active models
    .venv/bin/python scripts/backfill.py --benchmark known_relationships         # scores every published map
    .venv/bin/python scripts/backfill.py --benchmark known_relationships U2OS    # scores the maps of one dataset

The backfill is queued in the instance that DAGSTER_HOME names (by default the demo's). A running daemon does the work;
`make ui` starts one. The sensor `stale_scores` then asks for maps, scores and the leaderboard.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg

from cellassets.errors import CellAssetsError
from cellassets.mapping.dataset import Dataset
from cellassets.reconcile.models import active_models, dataset_state, missing_embeddings
from cellassets.reconcile.scores import unscored_maps
from cellassets.reconcile.work import Work
from cellassets.storage.deployment import Home
from resources.environment import build_resources
from resources.partitions import partition_key

REPOSITORY = Path(__file__).parents[1]
MAX_PARTITIONS = 1500  # of one backfill: they are passed in one argument, which Linux limits to 128 KiB
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


def missing_embeddings_of(dataset_id: str) -> list[str]:
    """Returns the (experiment, model) partition keys of the missing embeddings of a dataset by the active models.

    Raises:
        SystemExit: there is no such dataset, or no active model.
    """
    resources = build_resources()
    lake, configs = resources["lake"].open(), resources["configs"]
    registry = resources["registry"].open()
    models = active_models(registry.list_models(), configs.policy().models)
    if not models:
        sys.exit("no active model is registered")
    return _keys(missing_embeddings(lake, models=models, datasets=_datasets(dataset_id)))


def missing_scores_of(benchmark_name: str, dataset_id: str | None) -> list[str]:
    """Returns the (dataset, model) partition keys of the maps that have no up-to-date score by a benchmark.

    Models and datasets that are no longer active are scored too; partitions that were removed are added again.

    Raises:
        SystemExit: there is no such benchmark or dataset.
    """
    resources = build_resources()
    lake, configs = resources["lake"].open(), resources["configs"]
    try:
        state = unscored_maps(lake, benchmark_name, datasets=_datasets(dataset_id), configs=configs.path())
    except CellAssetsError as error:
        sys.exit(str(error))
    for item in state.waiting:
        print(f"left out: {item.what}: {item.reason}", file=sys.stderr)
    with dg.DagsterInstance.get() as instance:
        for axis in ("dataset", "model"):
            known = instance.get_dynamic_partitions(axis)
            instance.add_dynamic_partitions(axis, sorted({item.keys[axis] for item in state.work} - set(known)))
    return _keys(state.work)


def _datasets(dataset_id: str | None) -> list[Dataset]:
    resources = build_resources()
    datasets = dataset_state(resources["lake"].open(), resources["configs"].path()).datasets
    if dataset_id is None:
        return datasets
    chosen = [dataset for dataset in datasets if dataset.dataset_id == dataset_id]
    if not chosen:
        names = ", ".join(sorted(dataset.dataset_id for dataset in datasets)) or "none"
        sys.exit(f"no dataset {dataset_id!r}; there are: {names}")
    return chosen


def _keys(work: list[Work]) -> list[str]:
    keys = [partition_key(item.keys) for item in work]
    return [key for key in keys if key is not None]


def launch(asset: str, partitions: list[str]) -> str:
    """Returns the identifier of a backfill, after queueing it for these partitions of an asset."""
    params = {
        "assetSelection": [{"path": asset.split("/")}],
        "partitionNames": partitions,
        "tags": [{"key": "cellassets/asked_by", "value": "scripts/backfill.py"}],
        "fromFailure": False,
    }
    command = [str(Path(sys.executable).with_name("dagster-graphql")), "-w", str(WORKSPACE), "-t", MUTATION]
    answer = subprocess.run(
        [*command, "-v", json.dumps({"params": params})], capture_output=True, text=True, check=False
    )
    try:
        answered = next(line for line in answer.stdout.splitlines() if line.startswith('{"'))  # among lines of its log
        result = json.loads(answered)["data"]["launchPartitionBackfill"]
    except (StopIteration, ValueError, KeyError, TypeError):
        sys.exit(f"the backfill was not queued: {answer.stdout[-2000:]}{answer.stderr[-2000:]}")
    if result["__typename"] != "LaunchBackfillSuccess":
        sys.exit(f"the backfill was not queued: {result['__typename']}: {result.get('message', '')}")
    return str(result["backfillId"])


def _enter(home: Path | None, configs: Path | None) -> None:
    """Sets the environment: what is given, what is set already, or the demo and its configuration files."""
    is_demo = home is None and "DAGSTER_HOME" not in os.environ
    if home is not None or is_demo:
        place = Home((home or REPOSITORY / "demo").resolve())
        os.environ.update(CELLASSETS_HOME=str(place.root), DAGSTER_HOME=str(place.dagster_home))
    if configs is not None:
        os.environ["CELLASSETS_CONFIGS"] = str(configs.resolve())
    elif is_demo:
        os.environ.setdefault("CELLASSETS_CONFIGS", str(REPOSITORY / "configs" / "demo"))


def main() -> None:
    """Queues the backfill and prints its identifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_id", nargs="?")
    parser.add_argument("--benchmark", help="the benchmark to score maps with")
    parser.add_argument("--home", type=Path, help="a local deployment, instead of what the environment names")
    parser.add_argument("--configs", type=Path, help="its configuration files, instead of what the environment names")
    chosen = parser.parse_args()
    if chosen.dataset_id is None and chosen.benchmark is None:
        parser.error("name a dataset to embed, or give --benchmark")
    _enter(chosen.home, chosen.configs)
    if not Path(os.environ["DAGSTER_HOME"], "dagster.yaml").exists():
        sys.exit(f"{os.environ['DAGSTER_HOME']}: no dagster.yaml in it; give the deployment's folder with --home")
    if chosen.benchmark is None:
        asset, partitions = "site_embeddings", missing_embeddings_of(chosen.dataset_id)
    else:
        asset = f"benchmark/{chosen.benchmark}"
        partitions = missing_scores_of(chosen.benchmark, chosen.dataset_id)
    if not partitions:
        print(f"{asset}: everything is there already")
    for start in range(0, len(partitions), MAX_PARTITIONS):
        part = partitions[start : start + MAX_PARTITIONS]
        print(f"backfill {launch(asset, part)} of {len(part)} partitions of {asset} is queued")


if __name__ == "__main__":
    main()
