"""Broken AnnData files, and declarations that do not fit them, are refused by name."""

import json
import sys
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from cellassets.errors import ConfigError, PackageMissing, ProfilesError

FORMS = ("h5ad", "v2.zarr", "v3.zarr")
KINDS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_array}
NAMED = {"var_column": "name"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("parts", "declared", "message"),
    [
        ({}, {"keys": {"well_id": "Well"}}, r"no column 'Well', .* it has Metadata_Plate, Metadata_Well"),
        ({}, {"anndata": {"matrix": "layers/raw"}}, r"layers/raw: no such matrix; the file has X\. Name one in"),
        ({"obsm": {"a": np.ones((2, 2))}, "X": None}, {}, r"X: no such matrix; the file has obsm/a\."),
        ({}, {"anndata": {"var_column": "gene"}}, r"var: no column 'gene'; it has _index, name\."),
        ({"var": pd.DataFrame(index=["Cells_X"] * 2)}, {}, r"var: 2 features are called 'Cells_X'; expected diff"),
        ({"X": np.ones((2, 2), dtype="complex64")}, {}, "X: expected real numbers, found .* complex64"),
        ({"X": np.ones((0, 2)), "obs": pd.DataFrame({"a": []})}, {}, r"obs has no row; expected one row per well"),
        ({"X": np.ones((2, 0)), "var": None}, {"anndata": None}, r"no feature column: none of its 0 columns"),
        (
            {"obsm": {"image": np.ones((2, 3, 3))}},
            {"anndata": {"matrix": "obsm/image"}},
            r"obsm/image: found an array of the shape \(2, 3, 3\); expected a matrix",
        ),
        (
            {"obsm": {"d": pd.DataFrame({"Cells_X": ["1", "many"]}, index=["r0", "r1"])}},
            {"anndata": {"matrix": "obsm/d"}},
            r"column Cells_X: expected numbers, found 'many'",
        ),
    ],
    ids=[
        "missing key", "missing layer", "missing X", "missing var column", "duplicates", "complex", "no rows",
        "no columns", "images", "text in obsm",
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_by_name(declare, made, form, parts, declared, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        name = made.write_anndata(made.anndata_wells(**parts), declare.folder / f"t.{form}")
    with pytest.raises(ProfilesError, match=rf"t\.{form}.*{message}"):
        declare(**{"table": name, "rows": "well", "anndata": {"var_column": None}, **declared})


def rewritten(path, change):
    """Changes an open AnnData file."""
    if path.suffix == ".h5ad":
        with h5py.File(path, "r+") as file:
            change(file)
    else:
        change(zarr.open_group(str(path), mode="r+", use_consolidated=False))
        (path / ".zmetadata").unlink(missing_ok=True)


def text_in_x(root):
    del root["X"]
    anndata.io.write_elem(root, "X", np.array([["a", "b"], ["c", "d"]], dtype=object))


def shorter_x(root):
    del root["X"]
    anndata.io.write_elem(root, "X", np.ones((1, 2)))


def narrower_x(root):
    del root["X"]
    anndata.io.write_elem(root, "X", np.ones((2, 1)))


def shorter_column(root):
    del root["obs/Metadata_Well"]
    anndata.io.write_elem(root, "obs/Metadata_Well", np.array(["A1"], dtype=object))


def old_obs(root):
    root["obs"].attrs["encoding-version"] = "0.1.0"


def table_as_x(root):
    del root["X"]
    anndata.io.write_elem(root, "X", {"a": np.ones(2)})


@pytest.mark.parametrize("form", ["h5ad", "v2.zarr"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text_in_x, "X: expected real numbers, found text"),
        (shorter_x, "obs has 2 rows, and X has 1; expected the same number"),
        (narrower_x, "X: 1 columns, but var has 2 rows; expected the same number"),
        (shorter_column, r"cannot be read as a table: .*height|cannot be read as AnnData: .*height"),
        (old_obs, "obs: found an element of the kind 'dataframe 0.1.0'; expected a table as anndata 0.8 and later"),
        (table_as_x, "X: found an element of the kind 'dict 0.1.0'; expected a matrix"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_parts_that_do_not_fit_together_are_refused(declare, made, form, change, message):
    name = made.write_anndata(made.anndata_wells(), declare.folder / f"t.{form}")
    rewritten(declare.folder / name, change)
    with pytest.raises(ProfilesError, match=rf"t\.{form}.*({message})"):
        declare(table=name, rows="well", anndata=NAMED)


def test_what_is_not_anndata_is_refused(declare, made):
    folder = declare.folder
    made.write_anndata(made.anndata_wells(), folder / "whole.h5ad")
    (folder / "truncated.h5ad").write_bytes((folder / "whole.h5ad").read_bytes()[:4000])
    (folder / "empty.h5ad").touch()
    (folder / "text.h5ad").write_text("Metadata_Plate,Metadata_Well\n")
    with h5py.File(folder / "other.h5ad", "w") as file:
        file["images"] = np.zeros(3)
    zarr.save_array(folder / "raw.zarr", np.ones((4, 2)))
    (folder / "nothing.zarr").mkdir()
    (folder / "file.zarr").touch()
    for name, message in {
        "truncated.h5ad": "cannot be read as AnnData: .*truncated file",
        "empty.h5ad": "cannot be read as AnnData: .*file signature not found",
        "text.h5ad": "cannot be read as AnnData: .*file signature not found",
        "other.h5ad": "not AnnData: expected obs, var and X, as anndata writes them; found images",
        "raw.zarr": r"not AnnData: .*; found one array of the shape \(4, 2\)",
        "nothing.zarr": "cannot be read as AnnData: No group found",
        "file.zarr": "cannot be read as AnnData: No group found",
        "missing.zarr": "no such file",
    }.items():
        with pytest.raises(ProfilesError, match=f"{name}: {message}"):
            declare(table=name, rows="well")


@pytest.mark.parametrize("form", ["h5ad", "v2.zarr"])
@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.filterwarnings("ignore")
def test_a_sparse_matrix_with_wrong_places_is_refused(declare, made, form, kind):
    data = made.anndata_wells()
    data.X = KINDS[kind](data.X)
    name = made.write_anndata(data, declare.folder / f"t.{form}")

    def far(root):
        root["X/indices"][1] = 1 << 20

    rewritten(declare.folder / name, far)
    with pytest.raises(ProfilesError, match=rf"t\.{form}: cannot be read as AnnData: .*(indices|index)"):
        declare(table=name, rows="well", anndata=NAMED)


@pytest.mark.parametrize("form", ["v2.zarr", "v3.zarr"])
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.filterwarnings("ignore:zarr v3 autosharding:UserWarning")
def test_a_lost_chunk_of_the_matrix_is_refused(declare, made, form, kind):
    data = made.anndata_wells()
    data.X = KINDS[kind](data.X)
    name = made.write_anndata(data, declare.folder / f"t.{form}")
    place = declare.folder / name / "X" / ("data" if kind == "csr" else "")
    (chunk,) = (path for path in place.rglob("*") if path.is_file() and path.name.replace(".", "").isdigit())
    chunk.unlink()
    with pytest.raises(ProfilesError, match=r"X: 1 of 1 chunks are missing; .* Copy the folder again"):
        declare(table=name, rows="well", anndata=NAMED)


def test_no_pickle_is_opened(declare, made):
    """Zarr 2 can declare that texts are pickles; the one here would create a folder."""
    name = made.write_anndata(made.anndata_wells(), declare.folder / "t.v2.zarr")
    place = declare.folder / name / "obs" / "Metadata_Plate" / "categories"
    about = json.loads((place / ".zarray").read_text())
    about["filters"] = [*about["filters"], {"id": "pickle", "protocol": 4}]
    about["compressor"] = None
    (place / ".zarray").write_text(json.dumps(about))
    (declare.folder / name / ".zmetadata").unlink()
    mark = declare.folder / "opened"
    (place / "0").write_bytes(f"cos\nmkdir\n(V{mark}\ntR.".encode())
    with pytest.raises(ProfilesError, match=r"cannot be read as AnnData: .*[Pp]ickle"):
        declare(table=name, rows="well", anndata=NAMED)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("anndata", "message"),
    [
        ({"matrix": "raw/X"}, r"anndata: .*matrix: found 'raw/X'; expected X, layers/NAME or obsm/NAME"),
        ({"matrix": "obsm/"}, "matrix: found 'obsm/'"),
        ({"matrix": "obsm/a", "var_column": "name"}, "var_column names the columns of X and of layers; leave it out"),
        ({"layer": "a"}, "layer"),
    ],
)
def test_a_wrong_choice_of_the_matrix_is_refused(declare, anndata, message):
    with pytest.raises(ConfigError, match=message):
        declare(table="t.h5ad", rows="well", anndata=anndata)


def test_a_matrix_is_named_only_where_a_table_is_anndata(declare, made):
    made.cells_table().write_parquet(declare.folder / "t.parquet")
    with pytest.raises(ProfilesError, match=r"t\.parquet: not AnnData, .*`anndata` .* remove this key"):
        declare(table="t.parquet", rows="cell", anndata={"matrix": "X"})


def test_without_the_package_the_message_says_what_to_install(declare, made, monkeypatch):
    made.write_anndata(made.anndata_wells(), declare.folder / "t.h5ad")
    made.cells_table().write_parquet(declare.folder / "t.parquet")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(PackageMissing, match=r"pip install 'cellassets\[anndata\]'"):
        declare(table="t.h5ad", rows="well")
    keys = {"site_index": "Image_Metadata_Site"}
    assert declare(table="t.parquet", rows="cell", keys=keys).vectors.size
