"""Fingerprints change with content and with nothing else."""

import polars as pl
import pytest

from cellassets.configuration import Parameters
from cellassets.errors import PartitionKeyError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.tables.content import frame_fingerprint


class Settings(Parameters):
    n_neighbours: int = 3


def test_order_of_keys_does_not_matter():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})


def test_any_value_matters():
    base = fingerprint({"a": 1, "b": Settings()})
    assert base != fingerprint({"a": 2, "b": Settings()})
    assert base != fingerprint({"a": 1, "b": Settings(n_neighbours=4)})
    assert base != fingerprint({"a": "1", "b": Settings()})


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(TypeError, match="object"):
        fingerprint({"a": object()})


def test_a_table_is_its_rows_in_any_order():
    table = pl.DataFrame({"well_id": ["A01", "B02", None], "n": [1, 2, 3]})
    assert frame_fingerprint(table) == frame_fingerprint(table.reverse().select("n", "well_id"))
    assert frame_fingerprint(table) != frame_fingerprint(table.with_columns(pl.col("n") + 1))
    assert frame_fingerprint(table) != frame_fingerprint(table.with_columns(pl.col("n").cast(pl.Float64)))


@pytest.mark.parametrize("key", ["HUVEC-1", "resnet_ce.v3", "0", "U2OS"])
def test_plain_keys_pass(key):
    assert check_partition_key(key, "experiment") == key


@pytest.mark.parametrize("key", ["", "a|b", "a,b", "a/b", "x\n", "a...b", "../x", ".hidden", "a b", "é"])
def test_keys_that_break_dagster_are_refused(key):
    with pytest.raises(PartitionKeyError, match="experiment"):
        check_partition_key(key, "experiment")
