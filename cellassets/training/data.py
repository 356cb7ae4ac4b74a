"""The data of a training: opened stores, their sites split into training and held-out ones, and their images.

Which sites are used is decided in `sites.py`. Who opens the stores decides which versions are read. Experiments of 8
and of 16 bits can be mixed, because grey levels are normalised by site or by plate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int, UInt

from cellassets.errors import RecipeError
from cellassets.images.reader import ExperimentStore
from cellassets.training.augmentation import check_sizes, crop_size
from cellassets.training.batches import ImageReader
from cellassets.training.normalisation import min_std
from cellassets.training.recipe import NetworkRecipe, crop_problem, recipe_experiments
from cellassets.training.sites import LabelledSites, Split, split_sites, training_and_held_out, usable_sites
from cellassets.training.sources import Source

MEMORY_BYTES = 4 << 30
PERTURBATION_NAMES = ("perturbation_id", "gene_symbol", "compound_id")


@dataclass(frozen=True)
class TrainingData:
    """Opened stores, with those to train on first, and the sites in them.

    `parent` is the model folder of the version that the recipe starts from (`start_from`), if it names one. `sources`
    says where another process reads the same. `channels` are the numbers of the channels that the network takes, from
    0; None for all.
    """

    stores: tuple[ExperimentStore, ...]
    split: Split
    parent: Path | None = None
    sources: tuple[Source, ...] = ()
    channels: tuple[int, ...] | None = None

    @property
    def n_channels(self) -> int:
        """Number of channels that the network takes."""
        return len(self.channel_names)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels that the network takes, in order."""
        names = self.stores[0].channel_names
        return names if self.channels is None else tuple(names[number] for number in self.channels)

    @property
    def site_px(self) -> tuple[int, int]:
        """Height and width of every site, in pixels."""
        return self.stores[0].height, self.stores[0].width

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Names of the perturbations that are trained on, of their genes and of their compounds, sorted."""
        is_trained_on = pl.col("perturbation_id").is_in([*self.split.class_names, *self.split.other_names])
        rows = pl.concat(store.wells.filter(is_trained_on).select(PERTURBATION_NAMES) for store in self.stores)
        return tuple(sorted({name for column in rows for name in column.drop_nulls().to_list()}))


def open_sources(recipe: NetworkRecipe, sources: Sequence[Source]) -> TrainingData:
    """Returns the sites that a recipe trains on and the held-out sites.

    Args:
        recipe: names the experiments.
        sources: in the order of `recipe_experiments(recipe)`.

    Raises:
        RecipeError: the experiments do not fit the recipe.
        CorruptArtifact: a file differs from its checksum.
    """
    stores, quality = [one.open_store() for one in sources], [one.read_quality() for one in sources]
    return replace(open_training_data(recipe, stores, quality), sources=tuple(sources))


def open_training_data(
    recipe: NetworkRecipe, stores: Sequence[ExperimentStore], quality: Sequence[pl.DataFrame | None]
) -> TrainingData:
    """Returns the sites that a recipe trains on and the held-out sites.

    Args:
        recipe: names the experiments and says which sites are used.
        stores: opened stores, in the order of `recipe_experiments(recipe)`.
        quality: QUALITY table of each experiment, or None if flagged sites are used too.

    Raises:
        RecipeError: the experiments do not fit together, or do not fit the recipe.
    """
    channels = check_stores(recipe, recipe_experiments(recipe), stores)
    tables = [
        usable_sites(
            store.sites,
            store.wells,
            table,
            recipe,
            least_std=min_std(store.dtype, store.imaging.top_grey_level),
            channels=channels,
        )
        for store, table in zip(stores, quality, strict=True)
    ]
    split = split_sites(*training_and_held_out(tables, recipe), recipe.classes)
    return TrainingData(tuple(stores), split, channels=channels)


def check_stores(
    recipe: NetworkRecipe, experiment_ids: Sequence[str], stores: Sequence[ExperimentStore]
) -> tuple[int, ...] | None:
    """Returns the numbers of the channels that a recipe takes, None for all, after comparing images with the recipe.

    Args:
        recipe: what is to be trained.
        experiment_ids: some of its experiments.
        stores: opened stores of these, at least one.

    Raises:
        RecipeError: channels or sizes of the images differ, or do not fit the recipe.
    """
    _check_alike(experiment_ids, stores)
    height, width = stores[0].height, stores[0].width
    check_sizes(recipe, height, width)
    problem = crop_problem(recipe, *crop_size(recipe.augmentation, height, width))
    if problem is not None:
        raise RecipeError(problem)
    return _chosen_channels(recipe, stores[0])


def image_reader(
    stores: Sequence[ExperimentStore],
    sites: LabelledSites,
    *,
    channels: tuple[int, ...] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> ImageReader:
    """Returns a function from positions among `sites` to their images.

    If all sites fit into `memory_bytes` they are decoded once and kept. Otherwise each batch is read from the stores.
    Images have the type of the stores; if some stores have 8 bits and others 16, all images have 16. They have the
    channels with the numbers `channels`, from 0; None for all.
    """
    first, dtype = stores[0], np.result_type(*(store.dtype for store in stores))
    chosen = slice(None) if channels is None else list(channels)
    site_shape = (first.n_channels if channels is None else len(channels), first.height, first.width)
    n_bytes = sites.n_sites * math.prod(site_shape) * dtype.itemsize

    def read(positions: Int[np.ndarray, "b"]) -> UInt[np.ndarray, "b c y x"]:
        indices = np.unique(sites.store_index[positions])
        if len(indices) == 1 and stores[indices[0]].dtype == dtype:
            return stores[indices[0]].read(sites.store_row[positions])[:, chosen]
        images = np.empty((len(positions), *site_shape), dtype=dtype)
        for index in indices:
            rows = np.flatnonzero(sites.store_index[positions] == index)
            images[rows] = stores[index].read(sites.store_row[positions[rows]])[:, chosen]
        return images

    if n_bytes > memory_bytes:
        return read
    kept = read(np.arange(sites.n_sites))
    return lambda positions: kept[positions]


def _chosen_channels(recipe: NetworkRecipe, store: ExperimentStore) -> tuple[int, ...] | None:
    if recipe.channels is None:
        return None
    missing = [name for name in recipe.channels if name not in store.channel_names]
    if missing:
        message = (
            f"channels: {', '.join(missing)} not among those of {store.experiment_id}, which are "
            f"{', '.join(store.channel_names)}: correct the names"
        )
        raise RecipeError(message)
    return tuple(store.channel_names.index(name) for name in recipe.channels)


def _check_alike(experiment_ids: Sequence[str], stores: Sequence[ExperimentStore]) -> None:
    first = stores[0]
    for experiment_id, store in zip(experiment_ids[1:], stores[1:], strict=True):
        expected = (first.channel_names, first.height, first.width)
        found = (store.channel_names, store.height, store.width)
        if found != expected:
            message = (
                f"{experiment_id} has channels and size {found}, {experiment_ids[0]} has {expected}: a network "
                "takes images of one kind; remove one of the two experiments from the recipe"
            )
            raise RecipeError(message)
