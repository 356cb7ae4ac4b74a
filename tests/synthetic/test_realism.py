"""bench/realism.py finds an experiment like itself, and sees what was changed in its images."""

import importlib.util
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import pytest
from scipy.ndimage import gaussian_filter

from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

BENCH = Path(__file__).parents[2] / "bench" / "realism.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("realism", BENCH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["realism"] = module  # its dataclass looks for its module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["realism"]


@pytest.fixture(scope="module")
def landing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("realism") / "as_they_are"
    controls_only = {"n_genes": 0, "complex_sizes": [], "n_opposite_pairs": 0, "n_compounds": 0, "doses_um": []}
    write_screen(tiny_design(n_sites_per_well=2, **controls_only), folder, experiment_ids=["HUVEC-1"])
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")  # an unchanged landing zone is packed once


def rows_by_measure(bench, work, real, simulated):
    opened = [bench.Experiment.of(bench.opened_stores(zone, work)[0]) for zone in (real, simulated)]
    width = min(one.width for one in opened)
    sides = [[bench.measured(one, width, n_sites=8)] for one in opened]
    return {row["measure"]: row for row in bench.compared(*sides)}


def test_an_experiment_is_like_itself_in_every_measure(bench, landing, work):
    rows = rows_by_measure(bench, work, landing, landing)
    assert len(rows) > 90
    assert {row["ratio"] for row in rows.values() if row["real"][1]} == {1.0}
    assert all(row["is_alike"] for row in rows.values())


def test_a_blurred_channel_and_an_inverted_one_are_seen_and_the_others_are_not(bench, landing, work, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(landing, changed)
    for path in changed.glob("*/*/*_w3.png"):
        blurred = gaussian_filter(imagecodecs.imread(path).astype(float), 2)
        path.write_bytes(imagecodecs.png_encode(np.rint(blurred).astype(np.uint8)))
        er = imagecodecs.imread(path.with_name(path.name.replace("_w3", "_w2")))
        path.with_name(path.name.replace("_w3", "_w5")).write_bytes(imagecodecs.png_encode(255 - er))
    rows = rows_by_measure(bench, work, landing, changed)
    assert rows["channel 3: spectrum_slope"]["simulated"][1] < rows["channel 3: spectrum_slope"]["real"][1] - 1
    assert rows["channel 3: noise"]["ratio"] < 0.5
    assert rows["channel 4: spectrum_slope"]["ratio"] == rows["nuclei: n_nuclei"]["ratio"] == 1.0
    assert rows["correlation 2 - 5"]["simulated"][1] == -1.0 < rows["correlation 2 - 5"]["real"][1]


def test_the_spread_between_wells_is_that_which_was_put_there(bench, landing, work):
    store = bench.opened_stores(landing, work)[0]
    rng = np.random.default_rng(0)
    keys = store.sites.select("plate_id", "well_id").rows()
    wells = {key: rng.normal(0, 0.3) for key in sorted(set(keys))}
    log_mean = np.array([[wells[key] + rng.normal(0, 0.1)] * store.n_channels for key in keys])
    means = pl.Series("channel_mean", np.exp(3 + log_mean).astype(np.float32))
    found = bench.variation(replace(store, sites=store.sites.with_columns(means)), np.arange(store.n_sites))
    assert found["between_wells"] == pytest.approx(0.3, rel=0.3)
    assert found["between_sites_of_a_well"] == pytest.approx(0.1, rel=0.3)
    assert found["well_share"] == pytest.approx(0.9, abs=0.1)
