"""A store is compared with the landed images: exchanged channels, exchanged sites and changed files are found."""

import polars as pl
import pytest
from upath import UPath

from cellassets.images.comparison import differing_sites


@pytest.fixture
def parts(zone, landed, store):
    return store, landed.images, UPath(zone.root) / "E-1"


def test_a_packed_experiment_agrees_with_its_images(parts):
    assert differing_sites(*parts, n_sites=100, seed=0) == []


def test_sites_packed_from_other_files_are_named(parts):
    store, images, source = parts
    paths = {"Plate1/B02_s1_w1.png": "Plate1/B02_s2_w1.png", "Plate2/C03_s2_w1.png": "Plate2/C03_s2_w3.png"}
    other = images.with_columns(pl.col("path").replace(paths))
    assert differing_sites(store, other, source, n_sites=100, seed=0) == ["Plate1 B02 site 1", "Plate2 C03 site 2"]


def test_a_site_without_usable_images_in_the_manifest_is_named(parts):
    store, images, source = parts
    dropped = images.with_columns(is_usable=pl.col("path") != "Plate1/A01_s1_w2.png")
    assert differing_sites(store, dropped, source, n_sites=100, seed=0) == ["Plate1 A01 site 1"]


def test_a_sample_has_the_size_that_is_asked_for(parts):
    store, images, source = parts
    none_usable = images.with_columns(is_usable=pl.lit(value=False))
    assert len(differing_sites(store, none_usable, source, n_sites=5, seed=1)) == 5
    assert differing_sites(store, none_usable, source, n_sites=5, seed=1) == differing_sites(
        store, none_usable, source, n_sites=5, seed=1
    )
