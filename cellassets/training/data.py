"""The data of a training: opened stores, their sites split into training and held-out ones, and their images.

Which sites are used is decided in `sites.py`. Who opens the stores decides which versions are read. Experiments of 8
and of 16 bits can be mixed, because grey levels are normalised by site or by plate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int, UInt

from cellassets.errors import RecipeError
from cellassets.images.reader import ExperimentStore
from cellassets.training.augmentation import check_sizes
from cellassets.training.batches import ImageReader
from cellassets.training.normalisation import min_std
from cellassets.training.recipe import NetworkRecipe, recipe_experiments
from cellassets.training.sites import LabelledSites, Split, split_sites, usable_sites

MEMORY_BYTES = 4 << 30
PERTURBATION_NAMES = ("perturbation_id", "gene_symbol", "compound_id")


@dataclass(frozen=True)
class TrainingData:
    """Opened stores, with those to train on first, and the sites in them.

    `parent` is the model folder of the version that the recipe starts from (`start_from`), if it names one.
    """

    stores: tuple[ExperimentStore, ...]
    split: Split
    parent: Path | None = None

    @property
    def n_channels(self) -> int:
        """Number of channels of every site."""
        return self.stores[0].n_channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, in order."""
        return self.stores[0].channel_names

    @property
    def site_px(self) -> tuple[int, int]:
        """Height and width of every site, in pixels."""
        return self.stores[0].height, self.stores[0].width

    @property
    def perturbations(self) -> tuple[str, ...]:
        """Names of the classes, of their genes and of their compounds, sorted."""
        is_class = pl.col("perturbation_id").is_in(self.split.class_names)
        rows = pl.concat(store.wells.filter(is_class).select(PERTURBATION_NAMES) for store in self.stores)
        return tuple(sorted({name for column in rows for name in column.drop_nulls().to_list()}))


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
    _check_alike(recipe_experiments(recipe), stores)
    check_sizes(recipe, stores[0].height, stores[0].width)
    tables = [
        usable_sites(
            store.sites,
            store.wells,
            table,
            recipe,
            least_std=min_std(store.dtype, store.imaging.top_grey_level),
        )
        for store, table in zip(stores, quality, strict=True)
    ]
    n_train = len(recipe.train_experiments)
    return TrainingData(tuple(stores), split_sites(tables[:n_train], tables[n_train:], recipe.classes))


def image_reader(
    stores: Sequence[ExperimentStore], sites: LabelledSites, *, memory_bytes: int = MEMORY_BYTES
) -> ImageReader:
    """Returns a function from positions among `sites` to their images.

    If all sites fit into `memory_bytes` they are decoded once and kept. Otherwise each batch is read from the stores.
    Images have the type of the stores; if some stores have 8 bits and others 16, all images have 16.
    """
    first, dtype = stores[0], np.result_type(*(store.dtype for store in stores))
    site_shape = (first.n_channels, first.height, first.width)
    n_bytes = sites.n_sites * math.prod(site_shape) * dtype.itemsize

    def read(positions: Int[np.ndarray, "b"]) -> UInt[np.ndarray, "b c y x"]:
        indices = np.unique(sites.store_index[positions])
        if len(indices) == 1 and stores[indices[0]].dtype == dtype:
            return stores[indices[0]].read(sites.store_row[positions])
        images = np.empty((len(positions), *site_shape), dtype=dtype)
        for index in indices:
            rows = np.flatnonzero(sites.store_index[positions] == index)
            images[rows] = stores[index].read(sites.store_row[positions[rows]])
        return images

    if n_bytes > memory_bytes:
        return read
    kept = read(np.arange(sites.n_sites))
    return lambda positions: kept[positions]


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
