"""Embeds one data set's experiments with the active models: one Dagster backfill, as a person would start it in the UI.

    .venv/bin/python scripts/backfill.py U2OS

The backfill is queued in the instance that DAGSTER_HOME names, the demo's by default; a running daemon (`make ui` has
one) does the work, and the sensor `stale_scores` asks for maps and scores when it is done.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from cellassets.home import Home
from cellassets.reconcile.models import active_models, dataset_state, missing_embeddings
from resources.environment import build_resources
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


def partitions_of(dataset_id: str) -> list[str]:
    """Returns the (experiment, model) partition keys that a data set and the active models are missing.

    Raises:
        SystemExit: there is no such data set, or no active model.
    """
    resources = build_resources()
    lake, configs = resources["lake"].open(), resources["configs"]
    datasets = {dataset.dataset_id: dataset for dataset in dataset_state(lake, configs.path()).datasets}
    if dataset_id not in datasets:
        sys.exit(f"no data set {dataset_id!r}; there are: {', '.join(sorted(datasets)) or 'none'}")
    registry = resources["registry"].open()
    models = active_models(registry.list_models(), configs.policy().models)
    if not models:
        sys.exit("no active model is registered")
    missing = missing_embeddings(lake, models=models, datasets=[datasets[dataset_id]])
    keys = [partition_key(work.keys) for work in missing]
    return [key for key in keys if key is not None]


def launch(partitions: list[str]) -> str:
    """Returns the identifier of the backfill of `site_embeddings` over these partitions, after queueing it."""
    params = {
        "assetSelection": [{"path": ["site_embeddings"]}],
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


def main() -> None:
    """Queues the backfill and says how to follow it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_id")
    parser.add_argument("--home", type=Path, help="a local deployment, instead of what the environment names")
    chosen = parser.parse_args()
    if chosen.home is not None or "DAGSTER_HOME" not in os.environ:
        home = Home((chosen.home or REPOSITORY / "demo").resolve())
        os.environ.update(CELLASSETS_HOME=str(home.root), DAGSTER_HOME=str(home.dagster_home))
    if not Path(os.environ["DAGSTER_HOME"], "dagster.yaml").exists():
        sys.exit(f"{os.environ['DAGSTER_HOME']}: no dagster.yaml in it; give the deployment's folder with --home")
    partitions = partitions_of(chosen.dataset_id)
    if not partitions:
        print(f"everything of {chosen.dataset_id} that is stored is embedded: nothing to do")
        return
    print(f"backfill {launch(partitions)} of {len(partitions)} partitions of site_embeddings is queued")


if __name__ == "__main__":
    main()
