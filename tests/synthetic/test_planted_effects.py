"""Planted effects are visible in the images, inert genes are not, and nuisances are as large as the biology.

Images are measured by simple statistics and a threshold on the nuclear channel, independently of the package.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from cellassets.synthetic.axes import AXIS_NAMES, N_AXES
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.nuisances import Conditions, position_conditions
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import experiment_wells
from cellassets.synthetic.site import render_site

QUIET = Conditions(np.zeros(N_AXES), np.zeros(6), np.zeros(6))
N_SITES = 6


@pytest.fixture(scope="module")
def design():
    return demo_design(image_size=192)


@pytest.fixture(scope="module")
def wells(design):
    biology = plant_biology(design)
    return {experiment: experiment_wells(design, biology, experiment) for experiment in design.experiments}


def nuclei(image):
    smooth = ndimage.gaussian_filter(image[0].astype(float), 1.0)
    labels, _ = ndimage.label(smooth > 45)
    areas = np.bincount(labels.ravel())[1:]
    return areas[areas > 40]


def measure(image):
    """Returns simple features of a site: per channel mean, spread, darkest and brightest parts, fine structure."""
    planes = image.astype(np.float32)
    rows = [np.log(planes.mean(axis=(1, 2))), np.log(planes.std(axis=(1, 2)))]
    rows += [np.log(np.percentile(planes, q, axis=(1, 2))) for q in (5, 95)]
    rows.append(np.log((np.diff(planes, axis=2) ** 2).mean(axis=(1, 2))))
    return np.concatenate([*rows, [len(nuclei(image))]])


def with_axis(design, well, axis, amount):
    effect = np.zeros(N_AXES)
    effect[AXIS_NAMES.index(axis)] = amount
    changed = replace(well, conditions=QUIET, perturbation=replace(well.perturbation, effect=effect))
    return [render_site(design, changed, site) for site in range(1, N_SITES + 1)]


MEASURES = {
    "cell_number": lambda images: np.mean([len(nuclei(image)) for image in images]),
    "cell_size": lambda images: np.mean([(image[1] > 40).mean() / max(len(nuclei(image)), 1) for image in images]),
    "nuclear_size": lambda images: np.median(np.concatenate([nuclei(image) for image in images])),
    "chromatin_texture": lambda images: np.mean([np.std(np.diff(image[0].astype(float))) for image in images]),
    "er_intensity": lambda images: np.mean([image[1] for image in images]),
    "actin_intensity": lambda images: np.mean([image[2] for image in images]),
    "actin_fibres": lambda images: np.mean([np.abs(np.diff(image[2].astype(float))).mean() for image in images]),
    "nucleolar_size": lambda images: np.mean([np.percentile(image[3], 98) for image in images]),
    "rna_intensity": lambda images: np.mean([image[3] for image in images]),
    "golgi_intensity": lambda images: np.mean([np.percentile(image[5], 99) for image in images]),
    "mito_spread": lambda images: -np.mean([image[4][image[0] > 70].mean() / image[4].mean() for image in images]),
    "mito_fragmentation": lambda images: -np.mean([coherence(image[4]) for image in images]),
}


def coherence(plane):
    """Returns the mean coherence of the structure tensor: 1 for lines, 0 for round grains."""
    dy, dx = np.gradient(ndimage.gaussian_filter(plane.astype(float), 0.7))
    yy, xx, yx = (ndimage.gaussian_filter(product, 2.0) for product in (dy * dy, dx * dx, dy * dx))
    bright = plane > np.percentile(plane, 80)
    return (np.sqrt((yy - xx) ** 2 + 4 * yx**2) / (yy + xx + 1e-9))[bright].mean()


@pytest.mark.parametrize("axis", sorted(MEASURES))
def test_an_axis_changes_the_feature_of_its_name_in_both_directions(design, wells, axis):
    low, none, high = (MEASURES[axis](with_axis(design, wells["HUVEC-1"][0], axis, a)) for a in (-3.0, 0.0, 3.0))
    assert low < none < high


@pytest.mark.parametrize(("axis", "channel"), [("cell_elongation", 1), ("nuclear_elongation", 0)])
def test_elongation_axes_stretch_cells_and_nuclei(design, wells, axis, channel):
    def elongation(amount):
        images = with_axis(design, wells["HUVEC-1"][0], axis, amount)
        shapes = [shape for image in images for shape in aspect_ratios(image[channel] > 50)]
        return np.median(shapes)

    assert elongation(3.0) > 1.2 * elongation(-3.0)


def aspect_ratios(mask):
    labels, n = ndimage.label(mask)
    for index in range(1, n + 1):
        places = np.argwhere(labels == index)
        if len(places) > 60:
            values = np.linalg.eigvalsh(np.cov(places.T))
            yield np.sqrt(values[1] / values[0])


def test_a_field_of_view_contains_enough_cells(design, wells):
    counts = [len(nuclei(image)) for image in with_axis(design, wells["HUVEC-1"][0], "cell_number", 0.0)]
    assert np.mean(counts) >= 12


def test_large_images_contain_20_to_60_cells():
    design = demo_design(image_size=512)
    well = experiment_wells(design, plant_biology(design), "HUVEC-1")[0]
    counts = [len(nuclei(image)) for image in with_axis(design, well, "cell_number", 0.0)]
    assert 20 <= np.mean(counts) <= 60


def test_few_pixels_saturate_and_background_is_dark(design, wells):
    images = [render_site(design, well, 1) for well in wells["U2OS-1"][:12]]
    assert np.mean([(image == 255).mean() for image in images]) < 0.01
    assert np.median([np.percentile(image, 1) for image in images]) < 40


@pytest.fixture(scope="module")
def features(design, wells):
    """Features of every well of three batches, with its perturbation."""
    found = {"batch": [], "perturbation": [], "kind": [], "values": []}
    for experiment in ("HUVEC-1", "HUVEC-2", "HUVEC-3", "U2OS-1"):
        for well in wells[experiment]:
            found["batch"].append(experiment)
            found["perturbation"].append(well.perturbation.perturbation_id)
            found["kind"].append(kind_of(well.perturbation))
            found["values"].append(measure(render_site(design, well, 1)))
    return {name: np.array(values) for name, values in found.items()}


def kind_of(perturbation):
    if perturbation.well_type != "treatment":
        return perturbation.well_type
    return "inert" if perturbation.strength == 0 else "active"


def centred(features):
    """Returns features minus the mean of the batch's negative controls, in standard deviations of these controls."""
    values = features["values"].copy()
    for batch in np.unique(features["batch"]):
        inside = features["batch"] == batch
        controls = values[inside & (features["kind"] == "negative_control")]
        values[inside] = (values[inside] - controls.mean(axis=0)) / controls.std(axis=0, ddof=1)
    return values


def test_inert_genes_look_like_negative_controls(features):
    values = centred(features)
    controls, inert = values[features["kind"] == "negative_control"], values[features["kind"] == "inert"]
    p_values = np.array([stats.ks_2samp(controls[:, i], inert[:, i]).pvalue for i in range(values.shape[1])])
    # features go together, so the smallest p is not held to Bonferroni, only far from a real effect
    assert np.median(p_values) > 0.1
    assert p_values.min() > 1e-4


def test_positive_controls_do_not_look_like_negative_controls(features):
    values = centred(features)
    controls, positive = values[features["kind"] == "negative_control"], values[features["kind"] == "positive_control"]
    p_values = [stats.ks_2samp(controls[:, i], positive[:, i]).pvalue for i in range(values.shape[1])]
    assert np.median(p_values) < 1e-6


def test_replicates_of_active_perturbations_agree_and_of_inert_genes_do_not(features):
    values = centred(features)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    agreement = {"active": [], "inert": []}
    for name in np.unique(features["perturbation"]):
        rows = features["perturbation"] == name
        kind = features["kind"][rows][0]
        if kind in agreement:
            n = rows.sum()
            agreement[kind].append((np.square(values[rows].sum(axis=0)).sum() - n) / (n * (n - 1)))
    assert np.mean(agreement["active"]) > 0.2
    assert abs(np.mean(agreement["inert"])) < 0.12


def test_batches_differ_about_as_much_as_perturbations(features):
    """The variance between batches is a quarter to four times the variance between perturbations."""
    is_huvec = np.char.startswith(features["batch"], "HUVEC")
    is_control = (features["kind"] == "negative_control") & is_huvec
    groups = [
        features["values"][is_control & (features["batch"] == batch)] for batch in ("HUVEC-1", "HUVEC-2", "HUVEC-3")
    ]
    between = np.var([group.mean(axis=0) for group in groups], axis=0, ddof=1)
    within = np.mean([group.var(axis=0, ddof=1) for group in groups], axis=0)
    active = is_huvec & (features["kind"] == "active")
    names = np.unique(features["perturbation"][active])
    values = centred(features) * np.sqrt(within)
    means = [values[active & (features["perturbation"] == name)].mean(axis=0) for name in names]
    planted = np.clip(np.var(means, axis=0, ddof=1) - within / 6, 1e-9, None)
    assert 0.25 < np.median(between / planted) < 4.0
    assert 0.25 < np.median(between / within) < 4.0


def test_cell_types_differ_and_a_nuisance_of_zero_makes_them_alike(wells):
    def distance(strength):
        quiet = demo_design(image_size=192, nuisances={"cell_type": strength})
        first, second = (replace(wells[e][0], conditions=QUIET) for e in ("HUVEC-1", "U2OS-1"))
        rows = [
            [measure(render_site(quiet, well, site)) for site in range(1, 7)]
            for well in (first, replace(second, perturbation=first.perturbation))
        ]
        return np.linalg.norm(np.mean(rows[0], axis=0)[:30] - np.mean(rows[1], axis=0)[:30])

    assert distance(1.0) > 1.5 * distance(0.0)


def test_edge_wells_contain_fewer_cells(design):
    shifts = [position_conditions(design, e, "Plate1", 0, 0).axis_shift[0] for e in design.experiments]
    middle = [position_conditions(design, e, "Plate1", 4, 6).axis_shift[0] for e in design.experiments]
    assert np.mean(shifts) < np.mean(middle) - 0.3
