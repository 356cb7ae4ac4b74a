"""Tables follow their schemas when they are written and read, and SQL reads files without writing."""

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.errors import ConfigError, SchemaError
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


def test_reading_no_files_gives_an_empty_table():
    assert read_tables([], schemas.SITE_EMBEDDINGS).columns == schemas.SITE_EMBEDDINGS.names


@pytest.fixture
def views(tmp_path):
    path = UPath(tmp_path / "it's here.parquet")
    write_table(embeddings(), path, schemas.SITE_EMBEDDINGS)
    return {"site_embeddings": [path], "scores": []}


@pytest.mark.parametrize(
    ("statement", "n_rows"),
    [
        ("SELECT * FROM site_embeddings", 3),
        ("WITH first AS (SELECT * FROM site_embeddings LIMIT 1) SELECT * FROM first;", 1),
        ("DESCRIBE site_embeddings", 6),
        ("SUMMARIZE site_embeddings", 6),
        ("SHOW TABLES", 1),
    ],
)
def test_one_select_over_files_is_answered(views, statement, n_rows):
    assert query(views, statement).height == n_rows


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "COPY site_embeddings TO '{folder}/stolen.parquet'",
        "EXPLAIN ANALYZE COPY site_embeddings TO '{folder}/stolen.parquet'",
        "SELECT 1; COPY site_embeddings TO '{folder}/stolen.parquet'",
        "CREATE TABLE copied AS SELECT * FROM site_embeddings",
        "DROP VIEW site_embeddings",
        "ATTACH '{folder}/stolen.parquet'",
    ],
)
def test_anything_but_one_select_is_refused_and_nothing_is_written(views, tmp_path, statement):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="expected one SELECT"):
        query(views, statement.format(folder=tmp_path))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("statement", ["SELECT * FROM scores", "SELECT nothing FROM site_embeddings", "SELEC 1"])
def test_a_wrong_statement_names_the_views_that_exist(views, statement):
    with pytest.raises(ConfigError, match="not a query over"):
        query(views, statement)


def test_sql_reads_files_of_an_object_store(bucket):
    paths = [bucket / "it's here" / f"part-{number}.parquet" for number in range(2)]
    for path in paths:
        write_table(embeddings(), path, schemas.SITE_EMBEDDINGS)
    found = query({"site_embeddings": paths}, "SELECT count(*) AS n_rows FROM site_embeddings")
    assert found["n_rows"].to_list() == [6]
