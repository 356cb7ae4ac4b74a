"""Active models, active datasets, and the embeddings that they are missing."""

from upath import UPath

from cellassets.embedding.plan import plan_embeddings
from cellassets.lake import Lake
from cellassets.mapping.dataset import Dataset, cell_type_datasets, dataset_experiments, load_datasets
from cellassets.reconcile.experiments import is_stored
from cellassets.reconcile.policy import DatasetPolicy, ModelPolicy
from cellassets.reconcile.work import Work, is_missing, run_key
from cellassets.registry import ModelEntry, Registry


def active_models(entries: list[ModelEntry], policy: ModelPolicy) -> list[ModelEntry]:
    """Returns the models that are embedded and benchmarked on everything new, sorted by key."""
    by_age = sorted(entries, key=lambda entry: (entry.created_at_ms, entry.key), reverse=True)
    newest = {entry.key for entry in by_age[: policy.newest]}
    return [
        entry
        for entry in entries
        if entry.key in newest or entry.kind in policy.kinds or set(entry.aliases) & set(policy.aliases)
    ]


def all_datasets(lake: Lake, configs: UPath) -> list[Dataset]:
    """Returns one dataset a cell type that landed, and the curated ones."""
    return [*cell_type_datasets(lake), *load_datasets(configs / "datasets")]


def active_datasets(lake: Lake, datasets: list[Dataset], policy: DatasetPolicy) -> list[Dataset]:
    """Returns the datasets that policy names, and those that have a map already."""
    if policy.active == "all":
        return datasets
    return [d for d in datasets if d.dataset_id in policy.active or lake.keys("perturbation_map", d.dataset_id)]


def missing_embeddings(
    lake: Lake, registry: Registry, *, models: list[ModelEntry], datasets: list[Dataset]
) -> list[Work]:
    """Returns the (experiment, model) pairs of these datasets that are not embedded as they are now."""
    experiments = sorted({name for dataset in datasets for name in dataset_experiments(lake, dataset)})
    work = []
    for experiment_id in (name for name in experiments if is_stored(lake, name)):
        for entry in models:
            artifact = lake.site_embeddings(experiment_id, entry.key)
            plan = plan_embeddings(lake, registry, experiment_id, entry.key)
            if is_missing(artifact, plan):
                keys = {"experiment": experiment_id, "model": entry.key}
                work.append(Work(keys, ("site_embeddings",), run_key((artifact, plan.fingerprint))))
    return work
