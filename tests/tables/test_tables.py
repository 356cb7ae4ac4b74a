"""Tables keep to the naming law on their way in and out, and SQL sees what is published."""

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.errors import ConfigError, SchemaError
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.tables import schemas
from cellassets.tables.parquet import read_table, read_tables, vectors, with_vectors, write_table
from cellassets.tables.schema import TableSchema
from cellassets.tables.sql import query

ALL_SCHEMAS = [value for value in vars(schemas).values() if isinstance(value, TableSchema)]


def embeddings(n_rows=3, width=4):
    keys = {
        "experiment_id": ["HUVEC-1"] * n_rows,
        "plate_id": ["Plate1"] * n_rows,
        "well_id": [f"A{i + 1:02d}" for i in range(n_rows)],
        "site_index": [1] * n_rows,
        "model_key": ["m.v1"] * n_rows,
    }
    return with_vectors(pl.DataFrame(keys), np.arange(n_rows * width, dtype=np.float32).reshape(n_rows, width))


def test_the_same_quantity_has_one_type_in_every_table():
    types: dict[str, set[str]] = {}
    for schema in ALL_SCHEMAS:
        for column in schema.columns:
            types.setdefault(column.name, set()).add(str(column.dtype))
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


def test_vectors_come_back_bit_equal(tmp_path):
    path = UPath(tmp_path / "part.parquet")
    write_table(embeddings(), path, schemas.SITE_EMBEDDINGS)
    np.testing.assert_array_equal(vectors(read_table(path, schemas.SITE_EMBEDDINGS)), vectors(embeddings()))


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(SchemaError, match=r"lacks \['well_id'\]"):
        write_table(embeddings().drop("well_id"), UPath(tmp_path / "x.parquet"), schemas.SITE_EMBEDDINGS)
    assert not (tmp_path / "x.parquet").exists()


def test_a_null_is_named_with_its_row(tmp_path):
    table = embeddings().with_columns(well_id=pl.Series(["A01", None, "A03"]))
    with pytest.raises(SchemaError, match="well_id is null in row 1"):
        write_table(table, UPath(tmp_path / "x.parquet"), schemas.SITE_EMBEDDINGS)


def test_a_truncated_file_is_named(tmp_path):
    path = UPath(tmp_path / "x.parquet")
    write_table(embeddings(), path, schemas.SITE_EMBEDDINGS)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SchemaError, match=r"x\.parquet"):
        read_table(path, schemas.SITE_EMBEDDINGS)


def test_no_files_are_an_empty_table():
    assert read_tables([], schemas.SITE_EMBEDDINGS).columns == schemas.SITE_EMBEDDINGS.names


def test_sql_sees_published_tables_and_nothing_else(tmp_path):
    lake = Lake(UPath(tmp_path))
    place, plan = lake.site_embeddings("HUVEC-1", "m.v1"), Plan("site_embeddings", {"x": 1})
    write_table(embeddings(), place.folder(plan.fingerprint) / "part-00000.parquet", schemas.SITE_EMBEDDINGS)
    with pytest.raises(ConfigError, match="site_embeddings"):
        query(lake, "SELECT count(*) FROM site_embeddings")
    place.publish(plan, ["part-00000.parquet"], {})
    answer = query(lake, "SELECT well_id, embedding[1] AS first FROM site_embeddings ORDER BY well_id")
    assert answer.rows() == [("A01", 0.0), ("A02", 4.0), ("A03", 8.0)]
