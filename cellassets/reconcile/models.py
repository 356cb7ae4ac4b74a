"""Active models, active datasets, and the embeddings that they are missing."""

from dataclasses import dataclass

from upath import UPath

from cellassets.encoders.plan import ENCODER_KINDS, plan_embeddings
from cellassets.errors import CellAssetsError, ConfigError
from cellassets.knowledge.annotations import annotation_files
from cellassets.mapping.dataset import (
    Dataset,
    cell_type_datasets,
    dataset_experiments,
    dataset_fingerprint,
    load_dataset,
)
from cellassets.reconcile.experiments import is_stored
from cellassets.reconcile.policy import DatasetPolicy, ModelPolicy
from cellassets.reconcile.work import Waiting, Work, is_missing, run_key
from cellassets.registry import ModelEntry
from cellassets.storage.lake import Lake


def active_models(entries: list[ModelEntry], policy: ModelPolicy) -> list[ModelEntry]:
    """Returns the models that are embedded and benchmarked on everything new, sorted by key.

    What else is in the registry, of a kind that is no encoder here, does not count.
    """
    entries = [entry for entry in entries if entry.kind in ENCODER_KINDS]
    by_age = sorted(entries, key=lambda entry: (entry.created_at_ms, entry.key), reverse=True)
    newest = {entry.key for entry in by_age[: policy.newest]}
    return [
        entry
        for entry in entries
        if entry.key in newest or entry.kind in policy.kinds or set(entry.aliases) & set(policy.aliases)
    ]


@dataclass(frozen=True)
class DatasetState:
    """The datasets that can be judged on now, and why the others cannot."""

    datasets: list[Dataset]
    waiting: list[Waiting]


def dataset_state(lake: Lake, configs: UPath) -> DatasetState:
    """Returns one dataset a cell type that landed, and the curated ones; a wrong one holds up itself alone."""
    state = DatasetState(cell_type_datasets(lake), [])
    folder = configs / "datasets"
    for path in sorted(folder.glob("*.yaml"), key=lambda path: path.name) if folder.is_dir() else []:
        try:
            state.datasets.append(_usable(lake, path, known={dataset.dataset_id for dataset in state.datasets}))
        except CellAssetsError as error:
            state.waiting.append(Waiting(f"data set {path.stem}", str(error)))
    return state


def _usable(lake: Lake, path: UPath, *, known: set[str]) -> Dataset:
    dataset = load_dataset(path)
    if dataset.dataset_id in known:
        message = f"{path}: the cell type {dataset.dataset_id} is a data set of this name already; rename the file"
        raise ConfigError(message)
    annotation_files(lake.annotations, dataset.annotation_sources)  # the sources that it names are there
    dataset_fingerprint(lake, dataset)  # its experiments are there, its wells are those that it was frozen with
    return dataset


def active_datasets(lake: Lake, datasets: list[Dataset], policy: DatasetPolicy) -> list[Dataset]:
    """Returns the datasets that policy names, and those that have a map already."""
    if policy.active == "all":
        return datasets
    return [d for d in datasets if d.dataset_id in policy.active or lake.keys("perturbation_map", d.dataset_id)]


def missing_embeddings(lake: Lake, *, models: list[ModelEntry], datasets: list[Dataset]) -> list[Work]:
    """Returns the (experiment, model) pairs of these datasets that are not embedded as they are now."""
    experiments = sorted({name for dataset in datasets for name in dataset_experiments(lake, dataset)})
    work = []
    for experiment_id in (name for name in experiments if is_stored(lake, name)):
        for entry in models:
            artifact = lake.site_embeddings(experiment_id, entry.key)
            plan = plan_embeddings(lake, experiment_id, entry)
            if is_missing(artifact, plan):
                keys = {"experiment": experiment_id, "model": entry.key}
                work.append(Work(keys, ("site_embeddings",), run_key((artifact, plan.fingerprint))))
    return work
