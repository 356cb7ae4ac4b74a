"""Profiles as an encoder: the vectors of an experiment are looked up in the table of the model. No image is read."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32, Integer

from cellassets.errors import ProfilesError
from cellassets.images.reader import ExperimentStore
from cellassets.profiles.model_folder import read_model, read_profiles
from cellassets.tables.parquet import vectors
from cellassets.training.recipe import NormalisationKind

WELL = ["experiment_id", "plate_id", "well_id"]
SITE = [*WELL, "site_index"]
N_NAMED = 5
logger = logging.getLogger(__name__)


class ProfilesEncoder:
    """Gives the sites of a store their vectors from a table of profiles.

    A vector of a well becomes the vector of each of its sites. A map first averages the sites of a well, which gives
    the vector of the well again: a well never counts as several replicates.

    Attributes:
        precision: what the table has.
        normalisation: has no effect.
        device: where the vectors come from.
    """

    precision = "fp32"
    device = "table"
    normalisation: NormalisationKind = "site"  # of images, which are not read

    def __init__(self, folder: Path) -> None:
        self.model = read_model(folder)
        self.table = read_profiles(folder)
        self.keys = WELL if self.model.declared.is_per_well else SITE

    def present(self, store: ExperimentStore, model_key: str) -> Integer[np.ndarray, "site"]:
        """Returns the rows of `store.sites` that have a vector.

        Args:
            store: the experiment's sites.
            model_key: the model, for messages.

        Raises:
            ProfilesError: the table lacks the experiment, a plate, or wells or sites that it may not lack, or has two
                vectors of one of them.
        """
        own = self.table.filter(pl.col("experiment_id") == store.experiment_id)
        where = f"model {model_key}, experiment {store.experiment_id}"
        if own.is_empty():
            known = self.table["experiment_id"].unique().sort().to_list()
            message = (
                f"{where}: its table of profiles has no row of this experiment; it has {_some(known)}. Register the "
                "model with a table of this experiment too, or correct `names` of its declaration"
            )
            raise ProfilesError(message)
        if own.select(self.keys).is_duplicated().any():
            message = f"{where}: its table has two vectors of one place; register the profiles again"
            raise ProfilesError(message)
        is_there = store.sites.join(own, on=self.keys, how="semi", maintain_order="left").select(SITE)
        self._refuse_lacking(where, own, store.sites.select(SITE), is_there)
        if is_there.height < store.n_sites:
            logger.warning("%s: %d of %d sites have no row", where, store.n_sites - is_there.height, store.n_sites)
        found = store.sites.select(SITE).with_row_index("row").join(is_there, on=SITE, how="semi")
        return found.sort("row")["row"].to_numpy().astype(np.int64)

    def vectors_of(
        self, store: ExperimentStore, indices: Integer[np.ndarray, "site"]
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns the vectors of sites that `present` lists.

        Args:
            store: the experiment's sites.
            indices: rows of `store.sites`.
        """
        wanted = store.sites[indices].select(SITE)
        table = self.table.drop("site_index") if self.keys == WELL else self.table
        return vectors(wanted.join(table, on=self.keys, how="left", maintain_order="left"))

    def close(self) -> None:
        """Does nothing: no file is open."""

    def _refuse_lacking(self, where: str, own: pl.DataFrame, sites: pl.DataFrame, is_there: pl.DataFrame) -> None:
        plates = sites.select("plate_id").unique().join(is_there, on="plate_id", how="anti")["plate_id"].sort()
        if len(plates):
            message = (
                f"{where}: its table of profiles has no row of plate {_some(plates.to_list())}; for this experiment it "
                f"has {_some(own['plate_id'].unique().sort().to_list())}. Add the plate to the table, or say in "
                "`names` of the declaration what it is called there"
            )
            raise ProfilesError(message)
        may_lack = self.model.declared.may_lack
        wells = sites.select(WELL).unique().join(is_there, on=WELL, how="anti").sort(WELL)
        if wells.height and may_lack != "wells":
            raise ProfilesError(_lacking(where, "wells", [f"{plate} {well}" for _, plate, well in wells.rows()]))
        lacking = sites.join(is_there, on=SITE, how="anti").sort(SITE)
        if lacking.height and may_lack == "nothing":
            names = [f"{plate} {well} site {site}" for _, plate, well, site in lacking.rows()]
            raise ProfilesError(_lacking(where, "sites", names))


def _lacking(where: str, what: str, names: list[str]) -> str:
    return (
        f"{where}: its table of profiles has no row of {len(names)} {what} that landed: {_some(names)}. Add them to "
        f"the table; if no cell is there, write may_lack: {what} in the declaration and register it again, and they "
        "are left out"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
