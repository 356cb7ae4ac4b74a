"""Opens the stores and quality tables that a recipe names, splits their sites and reads their images.

Reads exactly the versions that the plan was made for; the science of the split is in `sites.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from cellassets.errors import RecipeError
from cellassets.images.reader import ExperimentStore
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import QUALITY
from cellassets.training.batches import ImageReader
from cellassets.training.plan import recipe_experiments
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sites import LabelledSites, Split, split_sites, usable_sites

MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class TrainingData:
    """Opened stores, those to train on first, and the sites in them."""

    stores: tuple[ExperimentStore, ...]
    split: Split

    @property
    def n_channels(self) -> int:
        """Channels of every site."""
        return self.stores[0].n_channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Their names."""
        return self.stores[0].channel_names

    @property
    def site_px(self) -> tuple[int, int]:
        """Height and width of every site."""
        return self.stores[0].height, self.stores[0].width


def open_training_data(lake: Lake, recipe: NetworkRecipe, plan: Plan) -> TrainingData:
    """Returns what a recipe trains on and is judged on.

    Raises:
        StaleArtifact: a store or quality table was replaced since the plan was made.
        RecipeError: the experiments do not fit together, or not to the recipe.
    """
    stores, tables = [], []
    for experiment_id in recipe_experiments(recipe):
        inputs = plan.inputs["experiments"][experiment_id]
        stored = lake.plate_store(experiment_id)
        files = stored.record(inputs["plate_store"]).files
        store = ExperimentStore.open(stored.folder(inputs["plate_store"]), files, experiment_id)
        quality = None
        if "plate_quality" in inputs:
            artifact = lake.plate_quality(experiment_id)
            record = artifact.record(inputs["plate_quality"])
            quality = read_table(artifact.path("quality.parquet", record), QUALITY)
        stores.append(store)
        tables.append(usable_sites(store.sites, store.wells, quality, recipe))
    _check_alike(recipe_experiments(recipe), stores)
    n_train = len(recipe.train_experiments)
    return TrainingData(tuple(stores), split_sites(tables[:n_train], tables[n_train:], recipe.classes))


def image_reader(
    stores: Sequence[ExperimentStore], sites: LabelledSites, *, memory_bytes: int = MEMORY_BYTES
) -> ImageReader:
    """Returns a function from positions among `sites` to their images.

    Sites that fit into `memory_bytes` together are decoded once and kept; others are read from the stores each time.
    """
    first = stores[0]
    n_bytes = sites.n_sites * first.n_channels * first.height * first.width

    def read(positions: Int[np.ndarray, "b"]) -> UInt8[np.ndarray, "b c y x"]:
        images = np.empty((len(positions), first.n_channels, first.height, first.width), dtype=np.uint8)
        for index in np.unique(sites.store_index[positions]):
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
                f"{experiment_id} has channels and size {found}, {experiment_ids[0]} has {expected}: one network "
                "takes one kind of image; leave one of them out of the recipe"
            )
            raise RecipeError(message)
