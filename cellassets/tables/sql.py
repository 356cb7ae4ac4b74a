"""DuckDB over every published table: a view a kind of table, read-only, nothing copied."""

from collections.abc import Iterator

import duckdb
import polars as pl
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.storage.artifact import RECORD_NAME, Artifact, is_local
from cellassets.storage.lake import Lake

# (kind of artefact, file without its number) -> view
VIEWS = {
    ("raw_plates", "images"): "images",
    ("raw_plates", "wells"): "wells",
    ("raw_plates", "findings"): "findings",
    ("plate_store", "sites"): "sites",
    ("plate_quality", "quality"): "quality",
    ("site_embeddings", "part"): "site_embeddings",
    ("perturbation_map", "map"): "perturbation_map",
    ("perturbation_map", "wells"): "aligned_wells",
    ("perturbation_map", "wells_raw"): "raw_wells",
    ("perturbation_map", "batch_effect"): "batch_effect",
    ("scores", "scores"): "scores",
    ("leaderboard", "leaderboard"): "leaderboard",
    ("leaderboard", "differences"): "differences",
}


def query(lake: Lake, statement: str) -> pl.DataFrame:
    """Returns the answer of one SQL statement over the published tables of a local lake.

    Views are the values of `VIEWS`; one without a published table is not there.

    Raises:
        ConfigError: the lake is not local, or the statement is not valid SQL over these views.
    """
    if not is_local(lake.root):
        message = f"{lake.root}: SQL reads a local lake; mount or copy it first"
        raise ConfigError(message)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        for view, paths in sorted(published_tables(lake).items()):
            listed = ", ".join("'" + path.path.replace("'", "''") + "'" for path in paths)
            connection.execute(f'CREATE VIEW "{view}" AS SELECT * FROM read_parquet([{listed}])')  # noqa: S608
        try:
            answer = connection.sql(statement)
        except duckdb.Error as error:
            message = f"not a query over {sorted(published_tables(lake))}: {error}"
            raise ConfigError(message) from error
        if answer is None:
            message = f"{statement!r} answers nothing; expected a SELECT"
            raise ConfigError(message)
        return pl.DataFrame(answer.to_arrow_table())


def published_tables(lake: Lake) -> dict[str, list[UPath]]:
    """Returns the Parquet files of each view, by the commit records alone."""
    views: dict[str, list[UPath]] = {}
    for artifact in published(lake):
        record = artifact.record()
        for entry in record.files:
            stem = entry.name.removesuffix(".parquet").split("-")[0]
            view = VIEWS.get((record.kind, stem)) if entry.name.endswith(".parquet") else None
            if view is not None:
                views.setdefault(view, []).append(artifact.path(entry.name, record))
    return views


def published(lake: Lake) -> Iterator[Artifact]:
    """Yields every published artefact, in the order of kinds and keys."""
    kinds = lake.root.iterdir() if lake.root.is_dir() else []
    folders = sorted((folder for folder in kinds if folder.is_dir()), key=lambda folder: folder.name)
    for folder in folders:
        paths = folder.glob(f"**/{RECORD_NAME}")
        yield from (Artifact(path.parent) for path in sorted(paths, key=str))
