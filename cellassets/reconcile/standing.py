"""How much of what should exist does: the answer to 'is it done yet?' for people and for the demo."""

from dataclasses import dataclass

from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.mapping.dataset import dataset_experiments
from cellassets.reconcile.checkpoints import recipe_state
from cellassets.reconcile.experiments import is_taken_in
from cellassets.reconcile.models import active_datasets, active_models, dataset_state, missing_embeddings
from cellassets.reconcile.policy import load_policy
from cellassets.reconcile.scores import stale_leaderboard, stale_reports, stale_scores
from cellassets.registry import Registry
from cellassets.screens.landing import find_experiments
from cellassets.storage.lake import Lake

PLATES = "plates checked and stored"
MAPS = f"maps, each with {len(BENCHMARKS)} benchmarks"


@dataclass(frozen=True)
class Standing:
    """One kind of asset: how many partitions should be there, and how many are, made from what is there now."""

    what: str
    n_done: int
    n_total: int

    @property
    def is_done(self) -> bool:
        """True where nothing is missing."""
        return self.n_done == self.n_total


def standing(lake: Lake, landing: UPath, registry: Registry, configs: UPath) -> list[Standing]:
    """Returns the standing of every kind of asset, in the order of the flow.

    What depends on something that is missing counts as missing too.
    """
    policy = load_policy(configs)
    landed = find_experiments(landing)
    n_taken_in = sum(is_taken_in(lake, experiment, policy.ingest) for experiment in landed)
    recipes = recipe_state(lake, configs / "recipes")
    n_untrained = len(recipes.work) + len(recipes.waiting)
    n_recipes = len(recipes.names) + sum(item.what not in recipes.names for item in recipes.waiting)
    models = active_models(registry.list_models(), policy.models)
    n_models = max(len(models), n_recipes)
    defined = dataset_state(lake, configs).datasets
    datasets = active_datasets(lake, defined, policy.datasets)

    experiments = {name for dataset in datasets for name in dataset_experiments(lake, dataset)}
    unembedded = missing_embeddings(lake, models=models, datasets=datasets)
    n_embeddings = len(experiments) * n_models
    n_embedded = len(experiments) * len(models) - len(unembedded)

    n_pairs = len(datasets) * n_models
    held_up = {(work.keys["experiment"], work.keys["model"]) for work in unembedded}
    ready = [
        (dataset, model)
        for dataset in datasets
        for model in models
        if not any((name, model.key) in held_up for name in dataset_experiments(lake, dataset))
    ]
    stale = stale_scores(lake, models=models, datasets=datasets, configs=configs)
    n_scored = len(ready) - len(stale.unscored)
    is_ranked = n_pairs > 0 and n_scored == n_pairs and not stale_leaderboard(lake, defined, configs)
    n_unreported = len(stale_reports(lake, registry, models)) if is_ranked else len(models)
    return [
        Standing(PLATES, n_taken_in, len(landed)),
        Standing("models trained", n_recipes - n_untrained, n_recipes),
        Standing("embedding tables", n_embedded, n_embeddings),
        Standing(MAPS, n_scored, n_pairs),
        Standing("leaderboard", int(is_ranked), 1),
        Standing("model reports", len(models) - n_unreported, n_models),
    ]
