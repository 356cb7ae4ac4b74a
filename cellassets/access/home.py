"""The assets of a deployment, for scripts and notebooks. `cellassets.open()` returns an `OpenHome`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from cellassets.access.images import OpenImages
from cellassets.access.map import OpenMap, open_map
from cellassets.errors import DatasetError
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.leaderboard import published_scores, read_scores
from cellassets.stages.tables import query_lake
from cellassets.storage.deployment import Deployment
from cellassets.tables.parquet import read_table, read_tables
from cellassets.tables.schemas import LEADERBOARD, SITE_EMBEDDINGS, WELLS
from cellassets.tables.sql import query, quoted

if TYPE_CHECKING:
    from cellassets.encoders.model import Model
    from cellassets.registry import ModelEntry, Registry
    from cellassets.stages.snapshot import Snapshot
    from cellassets.storage.lake import Published

WELL_KEYS = ("experiment_id", "plate_id", "well_id")


@dataclass(frozen=True)
class OpenHome:
    """Everything that is published in a deployment, read only.

    Attributes:
        deployment: where it is.
    """

    deployment: Deployment

    @property
    def snapshot(self) -> "Snapshot":
        """What is published at this moment."""
        return open_snapshot(self.deployment)

    def experiments(self) -> list[str]:
        """Returns the names of the checked experiments."""
        return list(self.deployment.lake.records().keys("raw_plates"))

    def datasets(self) -> list[str]:
        """Returns the names of the datasets that have a map."""
        return list(self.deployment.lake.records().keys("perturbation_map"))

    def models(self) -> pl.DataFrame:
        """Returns the registered models: model_key, kind, aliases, and the number of dimensions where it is known."""
        rows = [
            {"model_key": entry.key, "kind": entry.kind, "aliases": list(entry.aliases), "run_id": entry.run_id or None}
            for entry in self.registry.list_models()
        ]
        schema = pl.Schema(
            {"model_key": pl.String(), "kind": pl.String(), "aliases": pl.List(pl.String), "run_id": pl.String()}
        )
        return pl.DataFrame(rows, schema=schema)

    def maps(self) -> pl.DataFrame:
        """Returns the published maps: dataset_id, model_key, number of perturbations, wells and dimensions."""
        rows = [
            {"dataset_id": row.keys[0], "model_key": row.keys[1], **row.summary(PerturbationMapSummary).model_dump()}
            for row in self.deployment.lake.records()
            if row.kind == "perturbation_map"
        ]
        schema = pl.Schema({
            "dataset_id": pl.String(), "model_key": pl.String(), "n_perturbations": pl.Int64(), "n_wells": pl.Int64(),
            "embedding_dim": pl.Int64(), "cell_types": pl.List(pl.String), "experiments": pl.List(pl.String),
        })  # fmt: skip
        return pl.DataFrame(rows, schema=schema).sort("dataset_id", "model_key")

    def map(self, dataset_id: str, model: str) -> OpenMap:
        """Returns a published map.

        Args:
            dataset_id: the dataset, such as a cell type.
            model: a model key, `NAME@champion`, `NAME@latest`, or an alias such as `champion`.

        Raises:
            ArtifactMissing: no such map is published.
            RegistryError: there is no such model.
        """
        return open_map(self.snapshot, dataset_id, self.model_key(model, dataset_id))

    def model_key(self, asked: str, dataset_id: str | None = None) -> str:
        """Returns the key of a model version; MLflow is not asked where a map of this key is published.

        Args:
            asked: a key, a name with an alias, or an alias.
            dataset_id: a dataset whose maps are looked up first.

        Raises:
            RegistryError: there is no such version, or several.
        """
        parents = () if dataset_id is None else (dataset_id,)
        if parents and asked in self.deployment.lake.records().keys("perturbation_map", *parents):
            return asked
        return self._entry(asked).key

    def scores(self, *, dataset_id: str | None = None) -> pl.DataFrame:
        """Returns all published scores, one row per score.

        Args:
            dataset_id: only those of this dataset.
        """
        return read_scores(self.deployment.lake, published_scores(self.snapshot, dataset_id=dataset_id))

    def leaderboard(self) -> pl.DataFrame:
        """Returns the leaderboard.

        Raises:
            ArtifactMissing: it is not published.
        """
        published = self.deployment.lake.current("leaderboard")
        return read_table(published.file("leaderboard.parquet"), LEADERBOARD)

    def wells(self, experiment_id: str) -> pl.DataFrame:
        """Returns what was done to the wells of an experiment.

        Raises:
            ArtifactMissing: the experiment is not checked.
        """
        return read_table(self.deployment.lake.current("raw_plates", experiment_id).file("wells.parquet"), WELLS)

    def images(self, experiment_id: str) -> OpenImages:
        """Returns the stored images of an experiment.

        Raises:
            ArtifactMissing: the experiment is not stored.
        """
        return OpenImages(self.deployment.lake.current("plate_store", experiment_id))

    def embeddings(self, experiment_id: str, model: str) -> pl.DataFrame:
        """Returns the vectors of all sites of an experiment by one model.

        Raises:
            ArtifactMissing: they are not published.
        """
        published = self.deployment.lake.current("site_embeddings", experiment_id, self.model_key(model))
        return read_tables([published.file(name) for name in _tables(published.names)], SITE_EMBEDDINGS)

    def embeddings_of(
        self, perturbation_id: str, model: str, *, experiments: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Returns the vectors of all sites of one perturbation, with what was done to their wells.

        Of each experiment that has the perturbation, only the parts of the tables that hold its wells are read.

        Args:
            perturbation_id: as in the wells' tables, dose included; or a gene symbol.
            model: a model key, or a name with an alias.
            experiments: only these; all by default.

        Raises:
            DatasetError: no experiment has such a perturbation.
            ArtifactMissing: the embeddings of an experiment that has it are not published.
        """
        lake, key = self.deployment.lake, self.model_key(model)
        names = self.experiments() if experiments is None else list(experiments)
        tables = [lake.current("raw_plates", name).path("wells.parquet") for name in names]
        name = quoted(perturbation_id)
        wells = query({"wells": tables}, f"SELECT * FROM wells WHERE perturbation_id = {name} OR gene_symbol = {name}")  # noqa: S608
        if wells.is_empty():
            message = f"no well of {len(names)} experiments has the perturbation or gene {perturbation_id!r}"
            raise DatasetError(message)
        found = [
            _sites_of(own, lake.current("site_embeddings", str(experiment), key))
            for (experiment,), own in wells.group_by("experiment_id", maintain_order=True)
        ]
        return pl.concat(found).join(wells, on=WELL_KEYS, how="left", maintain_order="left")

    def sql(self, statement: str) -> pl.DataFrame:
        """Returns the answer of one SELECT over all published tables; `cellassets sql --help` lists the views.

        Raises:
            ConfigError: the statement is not one valid SELECT over these views.
        """
        return query_lake(self.deployment.lake, statement)

    def model(self, asked: str) -> "Model":
        """Returns a registered model, ready to embed images.

        Raises:
            RegistryError: there is no such version, or several.
            EncoderError: the model cannot be used without the platform.
        """
        from cellassets.encoders.model import Model  # imports torch

        with tempfile.TemporaryDirectory() as scratch:
            return Model.load(self.registry.fetch(self._entry(asked).key, Path(scratch)))

    @cached_property
    def registry(self) -> "Registry":
        """The registered models, in MLflow."""
        from cellassets.registry import Registry

        return Registry(self.deployment.tracking_uri, self.deployment.model_root)

    def _entry(self, asked: str) -> "ModelEntry":
        from cellassets.registry.names import entry_named

        entries = self.registry.list_models()
        is_alias = "@" not in asked and all(entry.key != asked for entry in entries)
        is_alias = is_alias and any(asked in entry.aliases for entry in entries)
        return entry_named(entries, f"@{asked}" if is_alias else asked)


def _sites_of(wells: pl.DataFrame, published: "Published") -> pl.DataFrame:
    """The rows of a table of embeddings that belong to some wells; groups of rows without these wells are not read."""
    parts = [published.path(name) for name in _tables(published.names)]
    listed = {
        column: ", ".join(quoted(value) for value in wells[column].unique().sort())
        for column in ("plate_id", "well_id")
    }
    where = " AND ".join(f"{column} IN ({values})" for column, values in listed.items())
    sites = query({"sites": parts}, f"SELECT * FROM sites WHERE {where}")  # noqa: S608
    own = sites.join(wells, on=WELL_KEYS, how="semi", maintain_order="left")
    width = len(own["embedding"][0])
    return own.with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, width))).sort(*WELL_KEYS, "site_index")


def _tables(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(".parquet")]
