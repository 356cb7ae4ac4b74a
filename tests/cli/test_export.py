"""`cellassets export`: images as OME-Zarr and vectors as AnnData, from the lake wherever it is."""

import json
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest
import zarr
from ome_zarr_models.v05 import HCS

from cellassets.cli.options import deployment_at
from cellassets.images.reader import ExperimentStore
from cellassets.mapping.filter import WELL_KEYS
from cellassets.profiles.registering import load_declaration, prepare_declared
from cellassets.tables.parquet import read_table, read_tables, vectors
from cellassets.tables.schemas import PERTURBATION_MAP, SITE_EMBEDDINGS, WELL_EMBEDDINGS, WELLS

EXPERIMENT, MODEL = "HUVEC-1", "plain.v1"


@pytest.fixture
def lake(settled):
    return deployment_at(settled).lake


@pytest.fixture
def store(lake):
    published = lake.current("plate_store", EXPERIMENT)
    return ExperimentStore.open(published.folder, published.record.files, EXPERIMENT)


@pytest.fixture
def first(store):
    """The first stored site: plate, well and site."""
    return store.sites.select("plate_id", "well_id", "site_index").row(0)


def test_a_plate_is_exported_with_the_pixels_of_the_lake(settled, run, store, first, lake, tmp_path):
    target = tmp_path / "plate.ome.zarr"
    made = json.loads(run("export", "ome-zarr", EXPERIMENT, first[0], target, "--home", settled, "--json"))
    on_plate = store.sites.with_row_index().filter(pl.col("plate_id") == first[0])
    assert made["n_sites"] == on_plate.height
    assert made["n_wells"] == on_plate["well_id"].n_unique()
    plate = HCS.from_zarr(zarr.open_group(str(target), mode="r"))
    assert len(plate.ome_attributes.plate.wells) == made["n_wells"]
    for index, well, site in on_plate.select("index", "well_id", "site_index").rows()[:5]:
        array = zarr.open_array(str(target / well[:-2] / well[-2:] / str(site) / "0"), mode="r")
        np.testing.assert_array_equal(array[:], store.read([index])[0])
    about = zarr.open_group(str(target), mode="r").attrs["cellassets"]
    assert about["fingerprint"] == lake.current("plate_store", EXPERIMENT).record.fingerprint


def test_a_well_and_a_site_are_exported(settled, run, first, tmp_path):
    plate, well, site = first
    assert "1 wells" in run("export", "ome-zarr", EXPERIMENT, f"{plate}/{well}", tmp_path / "w", "--home", settled)
    assert "1 sites" in run(
        "export", "ome-zarr", EXPERIMENT, f"{plate}/{well}/{site}", tmp_path / "s", "--home", settled
    )
    assert "well" in zarr.open_group(str(tmp_path / "w"), mode="r").attrs["ome"]
    assert "multiscales" in zarr.open_group(str(tmp_path / "s"), mode="r").attrs["ome"]


@pytest.mark.parametrize(
    ("experiment", "place", "message"),
    [
        ("HUVEC-9", "Plate1", "nothing is published"),
        (EXPERIMENT, "Plate77", "has no stored images of plate Plate77; there are Plate1"),
        (EXPERIMENT, "Plate1/P24", "has no stored images of well P24; there are"),
        (EXPERIMENT, "Plate1/?", "expected row letters and a column number"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_written(settled, refused, tmp_path, experiment, place, message):
    assert message in refused("export", "ome-zarr", experiment, place, tmp_path / "x", "--home", settled)
    assert not list(tmp_path.iterdir())


def test_a_target_that_exists_is_refused_by_every_export(settled, refused, tmp_path):
    for name in ("x.zarr", "x.h5ad"):
        (tmp_path / name).mkdir()
    told = "exists already, and exports replace nothing"
    assert told in refused("export", "ome-zarr", EXPERIMENT, "Plate1", tmp_path / "x.zarr", "--home", settled)
    for what, key in (("map", "HUVEC"), ("wells", "HUVEC"), ("sites", EXPERIMENT)):
        target = tmp_path / "x.h5ad"
        assert told in refused("export", "anndata", what, key, MODEL, target, "--home", settled)
    assert not any((tmp_path / "x.zarr").iterdir())


def test_a_map_is_exported_with_its_source(settled, run, lake, tmp_path):
    target = tmp_path / "map.h5ad"
    made = json.loads(run("export", "anndata", "map", "HUVEC", MODEL, target, "--home", settled, "--json"))
    published = lake.current("perturbation_map", "HUVEC", MODEL)
    expected = read_table(published.file("map.parquet"), PERTURBATION_MAP)
    found = anndata.read_h5ad(target)
    assert (made["n_rows"], made["n_features"]) == found.shape == vectors(expected).shape
    np.testing.assert_array_equal(found.X, vectors(expected))
    assert found.obs_names.tolist() == expected["perturbation_id"].to_list()
    assert [*found.obs.columns, "embedding"] == expected.columns
    about = found.uns["cellassets"]
    assert about["fingerprint"] == published.record.fingerprint
    assert (about["asset"], about["dataset_id"], about["model_key"]) == ("perturbation_map", "HUVEC", MODEL)


@pytest.mark.parametrize(("option", "name"), [((), "wells.parquet"), (("--raw",), "wells_raw.parquet")])
def test_wells_are_exported_before_and_after_alignment(settled, run, lake, tmp_path, option, name):
    target = tmp_path / "wells.h5ad"
    run("export", "anndata", "wells", "HUVEC", MODEL, target, *option, "--home", settled)
    expected = read_table(lake.current("perturbation_map", "HUVEC", MODEL).file(name), WELL_EMBEDDINGS)
    found = anndata.read_h5ad(target)
    np.testing.assert_array_equal(found.X, vectors(expected))
    assert found.obs_names[0] == "/".join(expected.select("experiment_id", "plate_id", "well_id").row(0))
    assert found.uns["cellassets"]["table"] == name


def test_sites_are_exported_with_the_perturbation_of_their_well(settled, run, lake, tmp_path):
    target = tmp_path / "sites.zarr"
    run("export", "anndata", "sites", EXPERIMENT, MODEL, target, "--home", settled)
    published = lake.current("site_embeddings", EXPERIMENT, MODEL)
    expected = read_tables([published.file(name) for name in published.names], SITE_EMBEDDINGS)
    found = anndata.read_zarr(target)
    np.testing.assert_array_equal(found.X, vectors(expected))
    assert found.obs_names[0] == "{}/{}/{}/{}".format(
        *expected.select("experiment_id", "plate_id", "well_id", "site_index").row(0)
    )
    wells = read_table(lake.current("plate_store", EXPERIMENT).file("wells.parquet"), WELLS)
    by_well = dict(wells.select(pl.concat_str("plate_id", "well_id", separator="/"), "perturbation_id").rows())
    named = found.obs["plate_id"].astype(str) + "/" + found.obs["well_id"].astype(str)
    assert found.obs["perturbation_id"].tolist() == [by_well[name] for name in named]
    assert found.uns["cellassets"]["fingerprint"] == published.record.fingerprint


@pytest.mark.parametrize(("what", "key"), [("sites", EXPERIMENT), ("wells", "HUVEC")])
@pytest.mark.parametrize("end", ["h5ad", "zarr"])
def test_what_was_exported_can_be_registered_as_profiles(settled, run, tmp_path, what, key, end):
    target = tmp_path / f"{what}.{end}"
    run("export", "anndata", what, key, MODEL, target, "--home", settled)
    keys = [*WELL_KEYS, *(["site_index"] if what == "sites" else [])]
    file = tmp_path / "again.yaml"
    file.write_text(
        f"table: {target.name}\nrows: {what[:-1]}\nkeys: {json.dumps(dict(zip(keys, keys, strict=True)))}\n"
        "kind: profiles\nfeatures: embedding_\\d+\nsteps: []\n"
    )
    exported = getattr(anndata, f"read_{end}")(target)
    made = json.loads(run("model", "register", file, "--home", settled, "--check", "--json"))
    assert (made["n_rows"], made["n_features"]) == exported.shape
    prepared = prepare_declared(file, load_declaration(file))[1]
    found = dict(zip(prepared.labels.select(keys).rows(), prepared.vectors, strict=True))
    in_order = [found[tuple(row)] for row in exported.obs[keys].itertuples(index=False)]
    np.testing.assert_array_equal(in_order, exported.X)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of answers that are not used
def test_a_lake_in_a_bucket_is_read_in_the_same_way(settled, run, first, bucket, tmp_path):
    root = settled / "lake"
    for path in root.rglob("*"):
        if path.is_file() and {"plate_store", "perturbation_map"} & set(path.relative_to(root).parts):
            (bucket / "lake" / path.relative_to(root).as_posix()).write_bytes(path.read_bytes())
    place = "/".join(str(part) for part in first)
    remote = {"CELLASSETS_LAKE": str(bucket / "lake"), "CELLASSETS_CATALOGUE": f"sqlite:///{tmp_path / 'c.db'}"}
    run("export", "ome-zarr", EXPERIMENT, place, tmp_path / "near", "--home", settled)
    run("export", "ome-zarr", EXPERIMENT, place, tmp_path / "far", **remote)
    assert contents(tmp_path / "far") == contents(tmp_path / "near")
    run("export", "anndata", "map", "HUVEC", MODEL, tmp_path / "near.h5ad", "--home", settled)
    run("export", "anndata", "map", "HUVEC", MODEL, tmp_path / "far.h5ad", **remote)
    near, far = (anndata.read_h5ad(tmp_path / name) for name in ("near.h5ad", "far.h5ad"))
    np.testing.assert_array_equal(far.X, near.X)
    assert far.obs.equals(near.obs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
