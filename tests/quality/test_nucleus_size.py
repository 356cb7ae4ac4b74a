"""The size of nuclei: estimated from images of any magnification, or as given; counts of real fields are right."""

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cellassets.errors import ConfigError
from cellassets.quality.inspect import inspect_store
from cellassets.quality.nuclei import find_nuclei
from cellassets.quality.nucleus_size import estimated_diameter, nucleus_size
from cellassets.quality.parameters import QualityParameters
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.cells import draw_cells
from cellassets.synthetic.morphology import well_morphology
from cellassets.synthetic.presets import demo_design, tiny_design
from cellassets.synthetic.screen import experiment_wells
from cellassets.synthetic.seeds import stream
from cellassets.synthetic.site import render_site

REAL = Path(os.environ.get("CELLASSETS_REAL_FILES", Path(__file__).parents[3] / "shared/data"))
BENCH = Path(__file__).parents[2] / "bench/nuclei_counts.py"
N_SITES = 12


def simulated(design):
    """Images of the DNA stain, and the drawn nuclei of each site as rows of y, x and radius."""
    experiment_id = min(design.experiments)
    wells = experiment_wells(design, plant_biology(design), experiment_id)
    images, nuclei = [], []
    for well in wells[:: len(wells) // N_SITES]:
        # the site's cells are the first things that its random numbers draw
        rng = stream(design.seed, "site", experiment_id, well.plate_id, well.well_id, 1)
        look = well_morphology(design, well.cell_type, well.perturbation.effect + well.conditions.axis_shift)
        cells = draw_cells(look, design.image_size, design.diameter_px, rng)
        images.append(render_site(design, well, 1)[0])
        nuclei.append(np.stack([cells.nuclear_y, cells.nuclear_x, cells.nuclear_radius], axis=1))
    return images, nuclei


@pytest.mark.parametrize(
    "design",
    [tiny_design(image_size=64), tiny_design(), demo_design(), demo_design(image_size=320, cell_diameter_px=90.0)],
    ids=["64_px", "96_px", "160_px", "large_nuclei"],
)
def test_simulated_nuclei_of_every_size_are_measured_and_counted(design):
    images, nuclei = simulated(design)
    side, estimated = design.image_size, estimated_diameter(images)
    n_inside = n_touching = 0
    radii = []
    for y, x, radius in (drawn.T for drawn in nuclei):
        off = np.maximum(np.maximum(-y, y - side), np.maximum(-x, x - side))  # how far a centre is outside the image
        n_inside += (off < 0).sum()
        n_touching += (off < 0.8 * radius).sum()
        radii += radius[off < 0].tolist()
    assert estimated == pytest.approx(2 * np.median(radii), rel=0.15)
    n_found = sum(len(find_nuclei(image, estimated).centres) for image in images)
    assert 0.95 * n_inside <= n_found <= 1.05 * n_touching


def field(radius, n=25, *, side=400, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 10.0)
    places = [(row, column) for row in range(40, side - 30, 80) for column in range(40, side - 30, 80)]
    for row, column in places[:n]:
        image[(y - row - rng.uniform(-5, 5)) ** 2 + (x - column - rng.uniform(-5, 5)) ** 2 < radius**2] = 120
    return np.clip(gaussian_filter(image, 1.0) + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("radius", [4, 9, 16, 30])
def test_the_estimate_is_the_drawn_diameter(radius):
    assert estimated_diameter([field(radius, seed=seed) for seed in range(3)]) == pytest.approx(2 * radius, rel=0.08)


def test_debris_specks_and_empty_sites_do_not_move_the_estimate():
    rng = np.random.default_rng(1)
    plain = [field(9, seed=seed) for seed in range(6)]
    with_debris, specks = plain[0].copy(), plain[1].copy()
    with_debris[150:290, 150:290] = 200
    for row, column in rng.integers(5, 390, (200, 2)):
        specks[row : row + 3, column : column + 3] = 200
    empty = rng.normal(10, 3, (400, 400)).clip(0, 255).astype(np.uint8)
    spoilt = [with_debris, specks, empty, *plain[2:]]
    assert estimated_diameter(spoilt) == pytest.approx(estimated_diameter(plain), rel=0.05)
    assert estimated_diameter([empty, np.zeros_like(empty)]) is None


@pytest.fixture(scope="module")
def store(stored):
    return stored(lambda image: image)


def test_one_estimate_of_the_experiment_is_in_its_summary(store):
    summary = inspect_store(store, QualityParameters()).summary
    assert summary.nucleus_diameter_source == "estimated"
    assert summary.nucleus_diameter_px == pytest.approx(11, abs=1)
    size = nucleus_size(store, 0, diameter_um=None, diameter_px=None)
    assert size.diameter_px == summary.nucleus_diameter_px


def test_micrometres_count_where_the_pixel_size_is_known_and_pixels_elsewhere(store):
    scaled = replace(store, imaging=store.imaging.model_copy(update={"pixel_size_um": 0.65}))
    by_um = nucleus_size(scaled, 0, diameter_um=13.0, diameter_px=9.0)
    assert (by_um.diameter_px, by_um.source) == (pytest.approx(20), "given_um")
    by_px = nucleus_size(store, 0, diameter_um=13.0, diameter_px=9.0)
    assert (by_px.diameter_px, by_px.source) == (9.0, "given_px")
    assert nucleus_size(store, 0, diameter_um=13.0, diameter_px=None).source == "estimated"
    given = QualityParameters(nucleus_diameter_um=13.0)
    assert inspect_store(scaled, given).summary.nucleus_diameter_px == pytest.approx(20)


@pytest.mark.parametrize(("diameter_um", "pixels"), [(1.0, "1.54 pixels"), (70.0, "108 pixels")])
def test_impossible_micrometres_are_refused(store, diameter_um, pixels):
    scaled = replace(store, imaging=store.imaging.model_copy(update={"pixel_size_um": 0.65}))
    with pytest.raises(ConfigError, match=rf"HUVEC-1: a nucleus .* is {pixels} wide at 0\.65 µm .*correct nucleus_dia"):
        nucleus_size(scaled, 0, diameter_um=diameter_um, diameter_px=None)


def test_an_experiment_without_nuclei_says_that_the_size_is_assumed(stored):
    flat = stored(lambda image: np.random.default_rng(image.sum()).integers(9, 12, image.shape, dtype=np.uint8))
    summary = inspect_store(flat, QualityParameters()).summary
    assert summary.nucleus_diameter_source == "assumed"
    assert summary.flag_reasons["no cells"] == flat.n_sites


@pytest.mark.skipif(
    not (REAL / "cytomining+CytoDataFrame").is_dir(),
    reason=f"no cytomining+CytoDataFrame in {REAL}; set CELLASSETS_REAL_FILES to the folder that has it",
)
def test_counts_of_real_fields_are_within_a_tenth_of_the_published_ones():
    spec = importlib.util.spec_from_file_location("nuclei_counts", BENCH)
    bench = importlib.util.module_from_spec(spec)
    # its dataclass looks for its module
    sys.modules["nuclei_counts"] = bench
    spec.loader.exec_module(bench)
    rows = bench.counts(bench.real_fields(REAL))
    assert len(rows) == 6
    for row in rows:
        assert row["n_nuclei"] == pytest.approx(row["n_published"], rel=0.1), row
        assert row["n_nuclei"] == pytest.approx(row["n_other_method"], rel=0.1), row
        assert row["published_found_once_frac"] > 0.9, row
