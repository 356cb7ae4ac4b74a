"""The published tables of a lake: which Parquet files belong to which SQL view, by the commit records alone."""

from collections.abc import Iterator

import polars as pl
from upath import UPath

from cellassets.storage.artifact import RECORD_NAME, Artifact
from cellassets.storage.lake import Lake
from cellassets.tables.sql import query

# (kind of artefact, file name without number and suffix) -> view
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


def query_lake(lake: Lake, statement: str) -> pl.DataFrame:
    """Returns the answer of one SELECT over the published tables of a lake; the views are the values of `VIEWS`.

    Raises:
        ConfigError: the lake is not local, or the statement is not one valid SELECT over these views.
    """
    return query(published_tables(lake), statement)


def published_tables(lake: Lake) -> dict[str, list[UPath]]:
    """Returns the published Parquet files of each view; a view without a published table is left out."""
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
