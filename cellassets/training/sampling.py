"""Which sites make up the batches of an epoch. Everything depends only on the sites and on a seeded generator.

`batches.py` reads the images. The experiment of a site is its store.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from cellassets.training.recipe import Classification, NetworkRecipe, Sampling
from cellassets.training.sites import LabelledSites


@dataclass(frozen=True)
class Order:
    """How the batches of an epoch are drawn.

    Attributes:
        sampling: as in the recipe.
        n_sites_per_class: sites of one class that follow each other.
    """

    sampling: Sampling = "class_balanced"
    n_sites_per_class: int = 1

    def n_batches(self, sites: LabelledSites, batch_size: int) -> int:
        """Returns the number of batches of every epoch: that of the sites, rounded up to full batches.

        For `one_experiment` the sites of each experiment are rounded up.
        """
        counts = np.unique(sites.store_index, return_counts=True)[1]
        return sum(
            math.ceil(n / batch_size) for n in (counts if self.sampling == "one_experiment" else [sites.n_sites])
        )

    def batches(
        self, sites: LabelledSites, batch_size: int, generator: np.random.Generator
    ) -> Int[np.ndarray, "batch b"]:
        """Returns the site indices of one epoch, in full batches."""
        match self.sampling:
            case "class_balanced":
                return balanced_batches(sites.labels, batch_size, generator, n_together=self.n_sites_per_class)
            case "uniform":
                return uniform_batches(sites.n_sites, batch_size, generator)
            case "one_experiment":
                return self._of_one_experiment(sites, batch_size, generator)
            case "equal_experiments":
                return _of_equal_experiments(sites, batch_size, generator)

    def _of_one_experiment(
        self, sites: LabelledSites, batch_size: int, generator: np.random.Generator
    ) -> Int[np.ndarray, "batch b"]:
        """Balanced batches of each experiment, in random order."""
        drawn = []
        for index in np.unique(sites.store_index):
            members = np.flatnonzero(sites.store_index == index)
            found = balanced_batches(sites.labels[members], batch_size, generator, n_together=self.n_sites_per_class)
            drawn.append(members[found])
        return generator.permutation(np.concatenate(drawn))


CLASS_BALANCED = Order()


def order_of(recipe: NetworkRecipe) -> Order:
    """Returns how a recipe draws its batches. Without labels every site is drawn once per epoch."""
    if not isinstance(recipe.objective, Classification):
        return Order("uniform")
    return Order(recipe.sampling, recipe.n_sites_per_class)


def balanced_batches(
    labels: Int[np.ndarray, "site"], batch_size: int, generator: np.random.Generator, *, n_together: int = 1
) -> Int[np.ndarray, "batch b"]:
    """Returns the site indices of one epoch, in full batches, with every class drawn equally often.

    Classes are drawn in rounds: each round holds every class once, in random order. The sites of a class are drawn in
    rounds too, so no site is drawn twice before every site of its class is drawn once. The number of draws is the
    number of sites, rounded up to full batches.

    Args:
        labels: class of each site.
        batch_size: sites per batch.
        generator: source of the random order.
        n_together: sites of one class that follow each other; a round holds every class this often.
    """
    n_draws = math.ceil(len(labels) / batch_size) * batch_size
    return balanced_draws(labels, n_draws, generator, n_together=n_together).reshape(-1, batch_size)


def balanced_draws(
    labels: Int[np.ndarray, "site"], n_draws: int, generator: np.random.Generator, *, n_together: int = 1
) -> Int[np.ndarray, "draw"]:
    """Returns site indices in the order of `balanced_batches`, as many as are asked for."""
    present = np.unique(labels)
    n_rounds = math.ceil(n_draws / len(present) / n_together)
    rounds = np.concatenate([generator.permutation(present) for _ in range(n_rounds)])
    classes = np.repeat(rounds, n_together)[:n_draws]
    drawn = np.empty(n_draws, dtype=np.int64)
    for label in present:
        places, members = np.flatnonzero(classes == label), np.flatnonzero(labels == label)
        n_turns = math.ceil(len(places) / len(members))
        order = np.concatenate([generator.permutation(members) for _ in range(n_turns)])
        drawn[places] = order[: len(places)]
    return drawn


def uniform_batches(n_sites: int, batch_size: int, generator: np.random.Generator) -> Int[np.ndarray, "batch b"]:
    """Returns all sites in random order. The last batch is filled with sites that are drawn a second time."""
    n_draws = math.ceil(n_sites / batch_size) * batch_size
    n_rounds = math.ceil(n_draws / n_sites)
    drawn = np.concatenate([generator.permutation(n_sites) for _ in range(n_rounds)])
    return drawn[:n_draws].reshape(-1, batch_size)


def _of_equal_experiments(
    sites: LabelledSites, batch_size: int, generator: np.random.Generator
) -> Int[np.ndarray, "batch b"]:
    """Batches with equally many sites of every experiment, or one more of some; classes are balanced in each."""
    experiments = np.unique(sites.store_index)
    drawn = np.empty(math.ceil(sites.n_sites / batch_size) * batch_size, dtype=np.int64)
    for place, index in enumerate(experiments):
        members = np.flatnonzero(sites.store_index == index)
        n_draws = len(drawn[place :: len(experiments)])
        drawn[place :: len(experiments)] = members[balanced_draws(sites.labels[members], n_draws, generator)]
    return drawn.reshape(-1, batch_size)
