"""AnnData files hold the vectors, names and columns of the table, and say where it comes from."""

import sys

import anndata
import numpy as np
import polars as pl
import pytest

from cellassets.errors import ExportError, PackageMissing
from cellassets.exporting.target import local_target
from cellassets.exporting.vectors import export_anndata
from cellassets.tables.anndata_package import require_anndata
from cellassets.tables.parquet import vectors, with_vectors

SOURCE = {"asset": "perturbation_map", "keys": ["HUVEC", "m.v1"], "fingerprint": "abc", "generation": 2}


@pytest.fixture
def table():
    rows = pl.DataFrame(
        {
            "perturbation_id": ["TP53", "drug/1uM", "empty"],
            "gene_symbol": ["TP53", None, None],
            "guide_id": pl.Series([None] * 3, dtype=pl.String),
            "concentration_um": [None, 1.0, None],
            "n_wells": pl.Series([4, 2, 30], dtype=pl.Int32),
            "is_active": [True, False, False],
        }
    )
    return with_vectors(rows, np.random.default_rng(3).normal(size=(3, 5)))


@pytest.mark.parametrize(("name", "read"), [("map.h5ad", anndata.read_h5ad), ("map.zarr", anndata.read_zarr)])
def test_what_is_written_comes_back(table, tmp_path, name, read):
    assert export_anndata(table, tmp_path / name, name_columns=["perturbation_id"], source=SOURCE) == (3, 5)
    found = read(tmp_path / name)
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X, vectors(table))
    assert found.obs_names.tolist() == ["TP53", "drug/1uM", "empty"]
    assert found.var_names.tolist() == [f"embedding_{number}" for number in range(5)]
    assert found.obs.columns.tolist() == [column for column in table.columns if column != "embedding"]
    assert found.obs["n_wells"].tolist() == [4, 2, 30]
    assert found.obs["is_active"].tolist() == [True, False, False]
    np.testing.assert_array_equal(found.obs["concentration_um"], [np.nan, 1.0, np.nan])
    assert found.obs["gene_symbol"].astype(object).where(found.obs["gene_symbol"].notna(), None).tolist() == [
        "TP53", None, None,
    ]  # fmt: skip
    assert found.obs["guide_id"].isna().all()
    about = found.uns["cellassets"]
    assert (about["asset"], about["fingerprint"], int(about["generation"])) == ("perturbation_map", "abc", 2)
    assert list(about["keys"]) == ["HUVEC", "m.v1"]


def test_features_have_names_where_they_are_known(table, tmp_path):
    names = [f"Nuclei_{number}" for number in range(5)]
    export_anndata(table, tmp_path / "a.h5ad", name_columns=["perturbation_id"], source={}, feature_names=names)
    assert anndata.read_h5ad(tmp_path / "a.h5ad").var_names.tolist() == names


def test_rows_are_named_by_several_columns(table, tmp_path):
    export_anndata(table, tmp_path / "a.h5ad", name_columns=["perturbation_id", "n_wells"], source={})
    assert anndata.read_h5ad(tmp_path / "a.h5ad").obs_names.tolist() == ["TP53/4", "drug/1uM/2", "empty/30"]


def test_rows_with_one_name_are_refused(table, tmp_path):
    with pytest.raises(ExportError, match=r"rows named \['TP53'\] occur more than once"):
        export_anndata(pl.concat([table, table[:1]]), tmp_path / "a.h5ad", name_columns=["perturbation_id"], source={})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_file_is_not_seen(table, tmp_path, monkeypatch):
    def write_half(self, path):  # noqa: ARG001
        path.write_bytes(b"\x89HDF")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(anndata.AnnData, "write_h5ad", write_half)
        with pytest.raises(OSError, match="disk full"):
            export_anndata(table, tmp_path / "a.h5ad", name_columns=["perturbation_id"], source={})
    assert list(tmp_path.iterdir()) == []
    export_anndata(table, tmp_path / "a.h5ad", name_columns=["perturbation_id"], source={})
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(PackageMissing, match=r"pip install 'cellassets\[anndata\]'"):
        require_anndata()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gs://bucket/map.h5ad", "exports are written to a folder of this machine"),
        ("map.csv", r"expected a name that ends in \.h5ad or \.zarr"),
        ("nowhere/map.h5ad", "nowhere does not exist; create it first"),
        ("there.h5ad", "exists already, and exports replace nothing"),
    ],
)
def test_targets_that_cannot_be_written_are_refused(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.h5ad").touch()
    with pytest.raises(ExportError, match=message):
        local_target(name, (".h5ad", ".zarr"))
