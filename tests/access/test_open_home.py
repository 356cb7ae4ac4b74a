"""`cellassets.open()`: tables, vectors, maps, images and scores of a deployment."""

import numpy as np
import polars as pl
import pytest

import cellassets
from cellassets.access import OpenHome
from cellassets.errors import ArtifactMissing, ConfigError, DatasetError, RegistryError
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import PERTURBATION_MAP, SITE_EMBEDDINGS, WELL_EMBEDDINGS


@pytest.fixture(scope="module")
def home(scored):
    return OpenHome(scored.deployment)


@pytest.fixture(scope="module")
def model_key(scored):
    return min(scored.lake.records().keys("perturbation_map", "SIM"))


def test_a_folder_is_opened_and_one_that_is_no_deployment_is_refused(scored, tmp_path):
    assert cellassets.open(scored.home).datasets() == ["SIM"]
    with pytest.raises(ConfigError, match="no deployment here"):
        cellassets.open(tmp_path / "nowhere")


def test_lists_name_what_is_published(home, scored, model_key):
    assert home.experiments() == list(scored.lake.records().keys("raw_plates"))
    assert home.maps().select("dataset_id").unique().to_series().to_list() == ["SIM"]
    assert model_key in home.maps()["model_key"].to_list()
    assert set(home.models()["model_key"]) == set(home.maps()["model_key"])
    assert home.leaderboard().height > 0
    assert home.scores(dataset_id="SIM").height == home.scores().height > 0


def test_a_map_is_what_is_published(home, scored, model_key):
    opened = home.map("SIM", model_key)
    published = scored.lake.current("perturbation_map", "SIM", model_key)
    table = read_table(published.file("map.parquet"), PERTURBATION_MAP)
    assert opened.table.equals(table.drop("embedding"))
    assert np.array_equal(opened.vectors, vectors(table))
    labels, values = opened.wells
    wells = read_table(published.file("wells.parquet"), WELL_EMBEDDINGS)
    assert labels.equals(wells.drop("embedding"))
    assert np.array_equal(values, vectors(wells))
    assert opened.points["agreement"].null_count() == 0
    assert opened.hits.height > 0
    with pytest.raises(ArtifactMissing, match="perturbation_map of NONE"):
        home.map("NONE", model_key)


def test_a_model_is_named_by_its_key_or_an_alias(home, scored, tmp_path, model_key):
    with pytest.raises(RegistryError, match="champion"):
        home.map("SIM", "champion")
    other = scored.copy(tmp_path / "home")
    other.registry.move_alias("champion", model_key)
    opened = OpenHome(other.deployment)
    name = model_key.split(".v")[0]
    assert {opened.map("SIM", asked).model_key for asked in ("champion", f"{name}@champion", f"{name}@latest")} == {
        model_key
    }


def test_the_vectors_of_one_perturbation_are_those_of_its_wells(home, model_key):
    wells = pl.concat([home.wells(name) for name in home.experiments()])
    name = wells.filter(pl.col("control_kind").is_null())["perturbation_id"][0]
    found = home.embeddings_of(name, model_key)
    everything = pl.concat([home.embeddings(experiment, model_key) for experiment in home.experiments()])
    own = wells.filter((pl.col("perturbation_id") == name) | (pl.col("gene_symbol") == name))
    keys = ["experiment_id", "plate_id", "well_id"]
    expected = everything.join(own, on=keys, how="semi").sort(*keys, "site_index")
    columns = [column.name for column in SITE_EMBEDDINGS.columns]
    assert found.select(columns).equals(expected.select(columns))
    assert set(found["perturbation_id"]) <= set(own["perturbation_id"])
    with pytest.raises(DatasetError, match="no well of"):
        home.embeddings_of("nothing'; DROP", model_key)


def test_images_are_read_as_arrays_and_as_zarr(home):
    images = home.images(home.experiments()[0])
    site = images.sites.row(0, named=True)
    pixels = images.well(site["plate_id"], site["well_id"])
    zarr = images.zarr(site["plate_id"])
    rows = images.rows(site["plate_id"], site["well_id"])
    first = images.sites["plate_id"].to_list().index(site["plate_id"])
    assert np.array_equal(pixels, zarr.oindex[[row - first for row in rows]])
    with pytest.raises(DatasetError, match="has no image of plate"):
        images.well(site["plate_id"], "Z99")
    with pytest.raises(DatasetError, match="has no plate 'P9'"):
        images.zarr("P9")


def test_sql_opens_only_the_views_of_the_statement(home, monkeypatch):
    from cellassets.storage.lake import Lake

    opened = []
    whole = Lake.open
    monkeypatch.setattr(Lake, "open", lambda lake, row: opened.append(row.kind) or whole(lake, row))
    assert home.sql("SELECT count(*) AS n FROM wells")["n"][0] > 0
    assert set(opened) == {"raw_plates"}
    with pytest.raises(ConfigError, match=r"not a query over .*aligned_wells.*wells"):
        home.sql("SELECT * FROM nothing")


def test_a_map_is_anndata(home, model_key):
    pytest.importorskip("anndata")
    opened = home.map("SIM", model_key)
    data = opened.anndata()
    assert data.obs_names.to_list() == opened.perturbation_ids
    assert np.array_equal(data.X, opened.vectors)
    assert opened.anndata(of_wells=True).n_obs == opened.wells[0].height
