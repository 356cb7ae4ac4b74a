"""AnnData files become the same vectors as the same table in Parquet, wherever in the file the features are."""

import json
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from cellassets.errors import ProfilesError
from cellassets.exporting.vectors import export_anndata
from cellassets.profiles import profile_rows
from cellassets.profiles.anndata_tables import groups_of_rows
from cellassets.profiles.declaration import ProfilesSpec
from cellassets.profiles.model_folder import read_model, write_model_folder
from cellassets.tables.parquet import vectors, with_vectors

SITES = {"site_index": "Image_Metadata_Site"}
FORMS = ("h5ad", "v2.zarr", "v3.zarr")
KINDS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_array}


@pytest.fixture
def cells(made):
    """Cells with float32 features, of which a third are zero."""
    table = made.cells_table(plates=("BR1", "0012"), n_sites=3)
    is_zero = pl.int_range(pl.len()) % 3 == 0
    zeros = pl.when(is_zero).then(0.0).otherwise(pl.col(made.FEATURES)).cast(pl.Float32)
    return table.with_columns(zeros.name.keep())


def same(found, expected):
    assert found.labels.equals(expected.labels)
    assert found.features == expected.features
    np.testing.assert_array_equal(found.vectors, expected.vectors)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["sites follow each other", "shuffled"])
def test_cells_become_the_vectors_of_the_same_table_in_parquet(declare, made, cells, monkeypatch, form, kind, order):
    monkeypatch.setattr(profile_rows, "VALUES_AT_ONCE", 27 * len(made.FEATURES))
    table = cells.sample(fraction=1.0, shuffle=True, seed=1) if order == "shuffled" else cells
    table.write_parquet(declare.folder / "t.parquet")
    data = made.anndata_of(table)
    data.X = KINDS[kind](data.X)
    found = declare(table=made.write_anndata(data, declare.folder / f"t.{form}"), rows="cell", keys=SITES)
    same(found, declare(table="t.parquet", rows="cell", keys=SITES))


def test_rows_of_one_place_are_in_one_group_of_limited_size():
    places = [3, 3, 1, 3, 2, 2, 1, None, None, 5]
    rows = pl.DataFrame({"row": range(10), "place": places})
    groups = groups_of_rows(rows, ["place"], n_rows=3)
    assert [group["row"].to_list() for group in groups] == [[0, 1, 3], [2, 4, 5, 6], [7, 8], [9]]


@pytest.mark.parametrize("form", FORMS)
def test_features_are_in_a_layer_or_in_obsm(declare, made, cells, form):
    values = cells.select(made.FEATURES).to_numpy()
    frame = cells.select(made.FEATURES).to_pandas()
    data = made.anndata_of(cells, X=2 * values)
    frame.index = data.obs_names
    data.layers["normalised"] = sparse.csr_matrix(values)
    data.obsm["deep"], data.obsm["classical"] = values, frame
    name = made.write_anndata(data, declare.folder / f"t.{form}")
    cells.write_parquet(declare.folder / "t.parquet")
    expected = declare(table="t.parquet", rows="cell", keys=SITES)
    for matrix in ("layers/normalised", "obsm/classical"):
        same(declare(table=name, rows="cell", keys=SITES, anndata={"matrix": matrix}), expected)
    deep = declare(table=name, rows="cell", keys=SITES, anndata={"matrix": "obsm/deep"}, features=r"deep_\d+")
    assert deep.features == ("deep_0", "deep_1", "deep_2")
    np.testing.assert_array_equal(deep.vectors, expected.vectors)
    np.testing.assert_array_equal(declare(table=name, rows="cell", keys=SITES).vectors, 2 * expected.vectors)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_what_pycytominer_writes_as_anndata_is_read(declare, made, kind):
    """It writes all columns of numbers into `X`, also that of the site."""
    pycytominer = pytest.importorskip("pycytominer", reason="pycytominer is in the extra dev")
    table = made.cells_table().to_pandas()
    how = {"strata": ["Metadata_Plate", "Metadata_Well", "Image_Metadata_Site"], "features": list(made.FEATURES)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata
        for name, output in {f"t.{kind}": f"anndata_{kind}", "t.parquet": "parquet"}.items():
            pycytominer.aggregate(table, **how, output_file=declare.folder / name, output_type=output)
    assert "Image_Metadata_Site" in getattr(anndata, f"read_{kind}")(declare.folder / f"t.{kind}").var_names
    same(
        declare(table=f"t.{kind}", rows="site", keys=SITES, features="Image.*|Cells.*|Cyto.*|Nuclei.*"),
        declare(table="t.parquet", rows="site", keys=SITES),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_may_be_a_column_of_the_matrix(declare, made, kind):
    data = made.anndata_wells()
    data.X, data.var_names = KINDS[kind](data.X), ["Site", "Cells_Y"]
    found = declare(table=made.write_anndata(data, declare.folder / "t.h5ad"), rows="site", keys={"site_index": "Site"})
    assert found.labels["site_index"].to_list() == [1, 3]
    assert found.vectors.tolist() == [[2], [4]]


NAMED = {"var_column": "name"}


@pytest.mark.parametrize("form", FORMS)
def test_names_of_features_may_be_a_column_of_var(declare, made, form):
    name = made.write_anndata(made.anndata_wells(), declare.folder / f"t.{form}")
    found = declare(table=name, rows="well", anndata=NAMED)
    assert found.features == ("Cells_X", "Cells_Y")
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4]])
    assert declare(table=name, rows="well", features=r"\d").features == ("0", "1")


@pytest.mark.parametrize("form", FORMS)
def test_keys_are_read_whatever_type_they_have(declare, made, form):
    obs = pd.DataFrame(
        {
            "experiment": pd.Categorical(["E-2", "E-1", "E-1"]),
            "plate": pd.Categorical([12, 7, 7]),
            "site": pd.array([1, 1, 2], dtype="Int64"),
            "control": pd.Categorical(["negcon", None, "negcon"]),
            "other": pd.Categorical([None] * 3),
        },
        index=pd.Index(["A1", "a02", "B3"], name="well"),
    )
    data = anndata.AnnData(np.arange(3.0)[:, None], obs=obs, var=pd.DataFrame(index=["Cells_X"]))
    name = made.write_anndata(data, declare.folder / f"t.{form}")
    for well_id in ("well", "_index"):
        keys = {"experiment_id": "experiment", "plate_id": "plate", "well_id": well_id, "site_index": "site"}
        controls = {"column": "control", "values": ["negcon"]}
        found = declare(table=name, rows="site", experiment=None, keys=keys, controls=controls)
        assert found.labels.rows() == [("E-1", "7", "A02", 1), ("E-1", "7", "B03", 2), ("E-2", "12", "A01", 1)]
        assert found.vectors[:, 0].tolist() == [1, 2, 0]
    spec = ProfilesSpec(rows="site", keys=keys, controls=controls, steps=())
    assert profile_rows.read_rows([declare.folder / name], spec).is_control.tolist() == [False, True, True]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float16", ">f4", "float64", "int8", "uint64", "bool"])
def test_numbers_are_read_whatever_type_they_have(declare, made, form, dtype):
    data = made.anndata_wells(X=np.array([[0, 1], [1, 1]], dtype=dtype))
    found = declare(table=made.write_anndata(data, declare.folder / f"t.{form}"), rows="well", anndata=NAMED)
    assert found.vectors.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_missing_values_are_left_out_of_the_median(declare, made, missing):
    data = anndata.AnnData(
        np.array([[1.0], [missing], [3.0], [7.0]]),
        obs=pd.DataFrame({"Metadata_Plate": ["P"] * 4, "Metadata_Well": ["A1"] * 4}, index=list("abcd")),
        var=pd.DataFrame(index=["Cells_X"]),
    )
    assert declare(table=made.write_anndata(data, declare.folder / "t.h5ad"), rows="cell").vectors.tolist() == [[3.0]]


@pytest.mark.parametrize("end", ["h5ad", "zarr"])
@pytest.mark.parametrize("level", ["site", "well"])
def test_what_was_exported_comes_back_bit_for_bit(declare, end, level):
    keys = ["experiment_id", "plate_id", "well_id", *(["site_index"] if level == "site" else [])]
    table = pl.DataFrame(
        {"experiment_id": ["E-1", "E-1", "E-2"], "plate_id": ["P"] * 3, "well_id": ["A01", "A02", "A01"]}
    ).with_columns(site_index=pl.lit(1, pl.Int32), gene_symbol=pl.Series(["TP53", None, None]))
    table = with_vectors(table, np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    export_anndata(table, declare.folder / f"t.{end}", name_columns=keys, source={"asset": "site_embeddings"})
    features, named = r"embedding_\d+", {name: name for name in keys}
    found = declare(table=f"t.{end}", rows=level, experiment=None, keys=named, features=features)
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, vectors(table))
    assert found.labels.select(keys).equals(table.select(keys))


def test_anndata_is_read_beside_other_files_of_one_table(declare, made):
    plates = {name: made.cells_table(plates=(name,)) for name in ("BR1", "BR2", "BR3")}
    (declare.folder / "plates").mkdir()
    made.write_anndata(made.anndata_of(plates["BR1"]), declare.folder / "plates" / "BR1.h5ad")
    made.write_anndata(made.anndata_of(plates["BR2"]), declare.folder / "plates" / "BR2.v2.zarr")
    plates["BR3"].write_csv(declare.folder / "plates" / "BR3.csv")
    pl.concat(plates.values()).write_parquet(declare.folder / "t.parquet")
    same(
        declare(table="plates/*", rows="cell", keys=SITES, anndata={"matrix": "X"}),
        declare(table="t.parquet", rows="cell", keys=SITES),
    )


def test_cells_of_one_site_must_be_in_one_anndata_file(declare, made):
    made.write_anndata(made.anndata_of(made.cells_table()), declare.folder / "a.h5ad")
    made.write_anndata(made.anndata_of(made.cells_table()), declare.folder / "b.h5ad")
    with pytest.raises(ProfilesError, match=r"2 rows for .* well A01, site 1 .* keep all cells of a well in one file"):
        declare(table="*.h5ad", rows="cell", keys=SITES)


def test_layers_that_nobody_asks_for_are_not_read(declare, made):
    """Neither are columns of `obs`: both are damaged here."""
    made.write_anndata(made.anndata_wells(layers={"other": np.ones((2, 2))}), declare.folder / "t.h5ad")
    with h5py.File(declare.folder / "t.h5ad", "r+") as file:
        file["obs"]["odd"] = [1, 2]
        file["obs"]["odd"].attrs["encoding-type"] = "of the future"
        file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], "odd"]
        del file["layers/other"]
        file["layers/other"] = h5py.SoftLink("/nowhere")
    assert declare(table="t.h5ad", rows="well", anndata=NAMED).vectors.shape == (2, 2)
    with pytest.raises(ProfilesError, match=r"obs, column odd: expected numbers or texts, found .* 'of the future'"):
        declare(table="t.h5ad", rows="well", anndata=NAMED, keys={"plate_id": "odd"})


def test_the_model_says_which_matrix_it_is_made_of(declare, made, tmp_path):
    """Models of other tables do not, so that their fingerprint is that of earlier versions."""
    made.write_anndata(made.anndata_wells(layers={"a": np.eye(2)}), declare.folder / "t.h5ad")
    chosen = {"matrix": "layers/a", "var_column": "name"}
    prepared = declare(table="t.h5ad", rows="well", anndata=chosen)
    for anndata_key in (None, chosen):
        spec = ProfilesSpec(experiment="E-1", rows="well", steps=(), anndata=anndata_key)
        folder = write_model_folder(tmp_path / str(anndata_key is None), spec, prepared)
        assert read_model(folder).declared == spec
        assert json.loads((folder / "encoder.json").read_text())["declared"].get("anndata") == anndata_key
