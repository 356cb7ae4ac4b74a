"""Fixtures of the storage tests: databases for the catalogue, one of them a real Postgres."""

import secrets

import pytest


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request, tmp_path) -> str:
    """URL of an empty database: SQLite, then Postgres."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/lake/catalogue.db"
    url = request.getfixturevalue("postgres_url")
    schema = f"test_{secrets.token_hex(6)}"
    from sqlalchemy import create_engine

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    return f"{url}?options=-csearch_path%3D{schema}"
