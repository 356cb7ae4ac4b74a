"""Which partitions should exist. `policy.yaml` decides this: it names the active models and datasets.

All functions return keys in the order of the stage's axes.
"""

from cellassets.errors import CellAssetsError
from cellassets.stages.datasets import dataset_experiments, dataset_names, dataset_problem
from cellassets.stages.families import families, recipe_names
from cellassets.stages.models import active_models
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.state import state_of


def active_datasets(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the usable datasets that policy names or that have a map already."""
    return snapshot.value(_active_datasets)


def idle_datasets(snapshot: Snapshot) -> dict[str, str]:
    """Returns the reason for each other dataset: it is not active, or it cannot be used."""
    return snapshot.value(_idle_datasets)


def recipes(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of all recipes, those of variants among them."""
    return snapshot.value(recipe_names)


def searches(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of the recipe files with a search."""
    return snapshot.value(families)


def wanted_embeddings(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Returns experiment and model of every embedding table that should exist."""
    return snapshot.value(_wanted_embeddings)


def held_embeddings(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Returns experiment and model of the embedding tables that wait only because no active dataset needs them."""
    return snapshot.value(_held_embeddings)


def wanted_maps(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Returns dataset and model of every map that should exist.

    These are the maps of active datasets, and of any other usable dataset that was embedded by a backfill. A dataset
    whose experiments are embedded for active datasets anyway waits until a person backfills its maps: its file alone
    must not add scores.
    """
    return snapshot.value(_wanted_maps)


def _active_datasets(snapshot: Snapshot) -> tuple[str, ...]:
    wanted = policy(snapshot).datasets.active
    return tuple(
        name
        for name in dataset_names(snapshot)
        if (wanted == "all" or name in wanted or snapshot.keys("perturbation_map", name))
        and dataset_problem(snapshot, name) is None
    )


def _idle_datasets(snapshot: Snapshot) -> dict[str, str]:
    active = set(active_datasets(snapshot))
    reasons = {name: dataset_problem(snapshot, name) for name in dataset_names(snapshot) if name not in active}
    return {
        name: reason
        or "it is not active: name it in datasets.active of policy.yaml, or run scripts/backfill.py with its name"
        for name, reason in reasons.items()
    }


def _embedded(snapshot: Snapshot, datasets: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the experiments of some datasets, sorted."""
    found: set[str] = set()
    for dataset_id in datasets:
        try:
            found.update(dataset_experiments(snapshot, dataset_id))
        except CellAssetsError:  # the dataset is listed as waiting with this reason
            continue
    return tuple(sorted(found))


def _wanted_embeddings(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    experiments = _embedded(snapshot, active_datasets(snapshot))
    return tuple((experiment_id, entry.key) for entry in active_models(snapshot) for experiment_id in experiments)


def _held_embeddings(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    active = set(_embedded(snapshot, active_datasets(snapshot)))
    held = [name for name in _embedded(snapshot, tuple(idle_datasets(snapshot))) if name not in active]
    return tuple((experiment_id, entry.key) for entry in active_models(snapshot) for experiment_id in held)


def _wanted_maps(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    models = active_models(snapshot)
    wanted = [(dataset_id, entry.key) for dataset_id in active_datasets(snapshot) for entry in models]
    embedded_anyway = set(_embedded(snapshot, active_datasets(snapshot)))
    backfilled = [
        (dataset_id, entry.key)
        for dataset_id in idle_datasets(snapshot)
        if dataset_problem(snapshot, dataset_id) is None
        and not embedded_anyway.issuperset(dataset_experiments(snapshot, dataset_id))
        for entry in models
        if state_of(snapshot, "perturbation_map", dataset_id, entry.key).status != "waiting"
    ]
    return (*wanted, *backfilled)
