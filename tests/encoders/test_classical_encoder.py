"""The classical encoder: same vectors with any number of processes, and golden values of two fixed sites."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from cellassets.encoders.classical import Acquisition, ClassicalEncoder, feature_names, measure_site
from cellassets.encoders.kinds import ENCODER_KINDS, needs_gpu
from cellassets.stages.site_embeddings import CODE_VERSION
from cellassets.training.recipe import ClassicalParameters

PARAMETERS = ClassicalParameters(
    n_channels=2, families=("intensity", "texture", "granularity", "sizeshape", "radial_distribution")
)
ACQUISITION = Acquisition(nucleus_channel=0, nucleus_diameter_px=8.0)


def fixed_sites():
    """Two sites of integer arithmetic alone, so that they are the same on every machine."""
    y, x = np.mgrid[:96, :112]
    sites = []
    for shift in (0, 5):
        nuclei = np.full(y.shape, 20)
        for number in range(8):
            row, column = 16 + 21 * (number % 4) + shift, 24 + 56 * (number // 4) + 3 * (number % 4)
            squared = 3 * (y - row) ** 2 + (2 + number % 3) * (x - column) ** 2
            nuclei = np.maximum(nuclei, 200 - 10 * number - squared // 2)
        nuclei = nuclei + (7 * y + 11 * x + y * x) % 13
        stain = 60 + (5 * y * (x + shift) + 3 * x * x) % 97 + nuclei // 3
        sites.append(np.clip(np.stack([nuclei, stain]), 0, 255).astype(np.uint8))
    return np.stack(sites)


def embedded(encoder, sites, n_calls=1):
    encoder.acquisition = ACQUISITION
    nothing = np.zeros(sites.shape[:2], dtype=np.float32)
    vectors = [encoder.embed(sites, nothing, nothing) for _ in range(n_calls)]
    encoder.close()
    return vectors


GOLDEN_CODE_VERSION = "1"
GOLDEN_SHA256 = "3a392dada926b892ecbcaad3908f70109c69d0961287ed73e4512f83ae62537c"
GOLDEN = {
    "Nuclei_Count": (8.0, 8.0),
    "Median_Nuclei_Intensity_MeanIntensity_C1": (0.49386724181197905, 0.4943636304202148),
    "MAD_Cells_Intensity_MADIntensity_C2": (0.00196078431372549, 0.00196078431372549),
    "Median_Cells_Texture_Correlation_C2": (0.18899275010366098, 0.18241969242963946),
    "Median_Cells_Texture_InfoMeas1_C1": (-0.23912750748135478, -0.23576301098324332),
    "Median_Image_Granularity_1_C2": (65.95365340189318, 74.03702975535765),
    "Median_Nuclei_AreaShape_Perimeter": (48.62741699796952, 48.62741699796952),
    "MAD_Nuclei_AreaShape_HuMoment_1": (0.0003826555263733801, 0.00030893853254259024),
    "Median_Cells_RadialDistribution_RadialCV_3of4_C2": (0.09920291644861168, 0.07988800554319271),
}
RAISE = (
    "the classical features have changed: raise CODE_VERSION in cellassets/stages/site_embeddings.py, so that stored "
    "embeddings are made again, and store the new numbers here"
)


def test_golden_features_change_only_with_the_code_version():
    first, second = (measure_site(site, PARAMETERS, ACQUISITION) for site in fixed_sites())
    found = {name: (first[name], second[name]) for name in GOLDEN}
    for name, expected in GOLDEN.items():
        assert found[name] == pytest.approx(expected, rel=1e-9), f"{name}: {RAISE}"
    vectors = np.array([list(first.values()), list(second.values())])
    # five digits, so that the last bits of another machine do not matter; rounding errors around 0 are not hashed
    text = "\n".join(f"{value:.4e}" for value in np.where(np.abs(vectors) < 1e-8, 0, vectors).ravel())
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN_SHA256, RAISE
    assert CODE_VERSION == GOLDEN_CODE_VERSION, "store the golden features of the new code version here"


def test_vectors_do_not_depend_on_the_number_of_processes():
    sites = fixed_sites()
    (alone,) = embedded(ClassicalEncoder(PARAMETERS, n_processes=1), sites)
    before, after = embedded(ClassicalEncoder(PARAMETERS, n_processes=2, sites_before_pool=2), sites, n_calls=2)
    np.testing.assert_array_equal(before, alone)
    np.testing.assert_array_equal(after, alone)
    assert alone.shape == (2, len(feature_names(PARAMETERS)))
    assert alone.dtype == np.float32


def test_only_networks_and_unknown_kinds_need_a_gpu():
    needed = {name: kind.needs_gpu for name, kind in ENCODER_KINDS.items()}
    expected = {"network": True, "classical": False, "container": False, "profiles": False}
    assert needed == {**expected, "exported": True, "huggingface": True, "onnx": False}
    assert not needs_gpu("classical")
    assert needs_gpu("network")
    assert needs_gpu("from_elsewhere")


def test_the_kinds_are_known_without_torch_and_cp_measure():
    code = (
        "import sys, cellassets.encoders.kinds, cellassets.stages.site_embeddings\n"
        "print([name for name in ('torch', 'cp_measure', 'skimage') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_other_channels_than_the_recipes_change_the_length_of_the_vector():
    four = ClassicalParameters(n_channels=4)
    assert len(feature_names(four)) > len(feature_names(ClassicalParameters(n_channels=2)))
