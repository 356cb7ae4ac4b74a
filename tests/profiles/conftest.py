"""Small tables as cytotable, pycytominer, CellProfiler and anndata write them."""

import sqlite3
import warnings
from contextlib import closing

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
import yaml

from cellassets.profiles.registering import load_declaration, prepare_declared

SPELLED = {"A01": "a1", "A02": "A2", "B01": "B01", "B12": "b012"}
FEATURES = ("Cells_AreaShape_Area", "Cytoplasm_Intensity_Mean_DNA", "Nuclei_Texture_Contrast_ER_3_00_256")


def cells_table(*, plates=("BR1",), n_sites=2, n_cells=3):
    """One row per cell, as cytotable writes it: names of keys, spellings of wells, numbers of objects."""
    rng = np.random.default_rng(0)
    rows = []
    for plate in plates:
        for well in SPELLED.values():
            for site in range(1, n_sites + 1):
                image = len(rows) // n_cells + 1
                for cell in range(1, n_cells + 1):
                    numbers = {"Metadata_ImageNumber": image, "Metadata_ObjectNumber": cell}
                    keys = {"Image_Metadata_Site": site, "Metadata_Plate": plate, "Metadata_Well": well}
                    features = dict(zip(FEATURES, rng.normal(10, 3, 3), strict=True))
                    rows.append({**numbers, **keys, "Cytoplasm_TableNumber": "a" * 32, **features})
    return pl.DataFrame(rows)


def write_database(path, table, *, has_parents=True):
    """Writes cells as CellProfiler does: Image, Cells, Cytoplasm and Nuclei, joined by numbers.

    With parents, cells, cytoplasms and nuclei are numbered in different ways.
    """
    offset = {"Cells": 10, "Nuclei": 20} if has_parents else {"Cells": 0, "Nuclei": 0}
    number = pl.col("Metadata_ObjectNumber")
    ids = [pl.lit(1).alias("TableNumber"), pl.col("Metadata_ImageNumber").alias("ImageNumber")]
    image = table.unique("Metadata_ImageNumber", maintain_order=True).select(
        *ids,
        pl.col("Metadata_Plate").alias("Image_Metadata_Plate"),
        pl.col("Metadata_Well").alias("Image_Metadata_Well"),
        pl.col("Image_Metadata_Site").cast(pl.String),
    )
    tables = {"Image": image}
    for feature in FEATURES:
        name = feature.partition("_")[0]
        own = (number + offset.get(name, 0)).alias("ObjectNumber")
        parents = [
            (number + offset[parent]).cast(pl.Float64).alias(f"Cytoplasm_Parent_{parent}")
            for parent in ("Cells", "Nuclei")
            if has_parents and name == "Cytoplasm"
        ]
        tables[name] = table.select(*ids, own, *parents, feature)
    with closing(sqlite3.connect(path)) as connection:
        for name, frame in tables.items():
            connection.execute(f"CREATE TABLE {name} ({', '.join(frame.columns)})")
            holes = ", ".join("?" * frame.width)
            connection.executemany(f"INSERT INTO {name} VALUES ({holes})", frame.rows())  # noqa: S608
        connection.commit()
    return path


def median_by_hand(table, keys):
    """Medians of the cells of each site or well, in plain Python, by (plate, well, site)."""
    groups = {}
    for row in table.to_dicts():
        groups.setdefault(tuple(row[name] for name in keys), []).append([row[name] for name in FEATURES])
    return {key: np.median(np.array(rows, dtype=float), axis=0) for key, rows in groups.items()}


def anndata_of(table, **parts):
    """The table as AnnData: features in `X`, unless it is given, everything else in `obs`."""
    obs = table.drop(FEATURES).to_pandas()
    obs.index = [f"row {number}" for number in range(len(obs))]
    values = table.select(FEATURES).to_numpy()
    return anndata.AnnData(**{"X": values, "obs": obs, "var": pd.DataFrame(index=list(FEATURES)), **parts})


def anndata_wells(**parts):
    """Two wells with two features, whose names are in the column `name` of `var`."""
    obs = pd.DataFrame({"Metadata_Plate": ["P", "P"], "Metadata_Well": ["A1", "A2"]}, index=["r0", "r1"])
    var = pd.DataFrame({"name": ["Cells_X", "Cells_Y"]}, index=["0", "1"])
    return anndata.AnnData(**{"X": np.array([[1.0, 2.0], [3.0, 4.0]]), "obs": obs, "var": var, **parts})


def write_anndata(data, path):
    """Writes `.h5ad`, or Zarr of the version that the name says: version 3 with shards."""
    version = 3 if "v3" in path.name else 2
    if path.suffix == ".h5ad":
        data.write_h5ad(path)
        return path.name
    settings = anndata.settings.override(zarr_write_format=version, auto_shard_zarr_v3=version == 3)
    with warnings.catch_warnings(), settings:
        warnings.simplefilter("ignore")  # anndata and zarr announce what later versions write
        data.write_zarr(path)
    return path.name


@pytest.fixture
def declare(tmp_path):
    """Prepares a declared table: `declare(table="t.csv", rows="well")`; `declare.folder` is where tables are."""

    def declare(**declared):
        file = tmp_path / "jump.yaml"
        file.write_text(yaml.safe_dump({"experiment": "E-1", "steps": [], **declared}))
        return prepare_declared(file, load_declaration(file))[1]

    declare.folder = tmp_path
    return declare


@pytest.fixture(scope="session")
def made():
    """How to write tables: `made.cells_table()`, `made.write_database(path, table)`, ..."""

    class Made:
        """Functions of this module."""

    written = (cells_table, write_database, anndata_of, anndata_wells, write_anndata)
    for function in (*written, median_by_hand):
        setattr(Made, function.__name__, staticmethod(function))
    Made.FEATURES = FEATURES
    return Made
