"""Quality of a simulated screen with planted faults: three sites out of focus."""

import io
import subprocess
import sys
from dataclasses import replace

import imagecodecs
import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.quality.inspect import inspect_store
from cellassets.quality.parameters import QualityParameters
from cellassets.screens.codecs import decode_image
from cellassets.screens.imaging import Imaging, dna_channel
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

N_BLURRED = 3


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """The store of a tiny screen with three sites out of focus, and the names of these sites."""
    root = tmp_path_factory.mktemp("inspected")
    design = tiny_design()
    experiment_id = min(design.experiments)
    write_screen(design, root / "landing", experiment_ids=[experiment_id])
    sites = sorted({path.name.rsplit("_w", 1)[0] for path in (root / f"landing/{experiment_id}/Plate1").glob("*.png")})
    blurred = sites[5 : 5 + N_BLURRED]
    for site in blurred:
        for path in (root / f"landing/{experiment_id}/Plate1").glob(f"{site}_w*.png"):
            pixels = gaussian_filter(decode_image(path.read_bytes(), source=path.name).astype(np.float32), 4)
            path.write_bytes(imagecodecs.png_encode(pixels.astype(np.uint8)))
    manifest = check_experiment(UPath(root / "landing"), experiment_id, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / experiment_id), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    return ExperimentStore.open(packing.target, packed.files, experiment_id), blurred


@pytest.fixture(scope="module")
def inspected(screen):
    return inspect_store(screen[0], QualityParameters())


def test_blurred_sites_are_flagged_and_few_others(screen, inspected):
    _, blurred = screen
    quality, summary = inspected.quality, inspected.summary
    is_blurred = quality["flag_reason"].str.contains("out of focus").fill_null(value=False)
    found = quality.filter(is_blurred).select("plate_id", "well_id", "site_index").rows()
    assert found == [("Plate1", name.split("_s")[0], int(name.split("_s")[1])) for name in blurred]
    assert quality["is_flagged"].mean() < 0.1
    assert summary.flag_reasons["out of focus"] == N_BLURRED
    assert summary.n_sites == quality.height


def test_every_plate_gets_a_heat_map_and_a_contact_sheet(inspected):
    plates = sorted({name.split("_")[1].split(".")[0] for name in inspected.pictures})
    expected = {f"heatmap_{plate}.png" for plate in plates} | {f"contact_{plate}.jpg" for plate in plates}
    assert set(inspected.pictures) == expected
    for name, content in inspected.pictures.items():
        assert np.asarray(Image.open(io.BytesIO(content))).std() > 20, f"{name} shows nothing"


def test_inspecting_again_gives_the_same_table_and_other_parameters_another_one(screen, inspected):
    assert inspect_store(screen[0], QualityParameters()).quality.equals(inspected.quality)
    strict = inspect_store(screen[0], QualityParameters(max_robust_z=3.0)).quality
    assert strict["is_flagged"].sum() > inspected.quality["is_flagged"].sum()


def test_a_missing_nucleus_channel_is_refused(screen):
    with pytest.raises(ConfigError, match="has 6 channels, nucleus_channel is 6"):
        inspect_store(screen[0], QualityParameters(nucleus_channel=6))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Hoechst", "ConA"), 0),
        (("ER", "AGP", "Mito", "RNA", "DNA"), 4),
        (("OrigAGP", "orig_dna"), 1),
        (("Brightfield", "DAPI", "Hoechst 33342"), 1),
        (("WGA", "H33342"), 1),
        (("cDNAs", "mRNA"), None),
        (("w1", "w2"), None),
    ],
)
def test_the_dna_channel_is_found_by_its_name(names, expected):
    assert dna_channel(names) == expected


def test_nuclei_are_counted_where_the_dna_stain_is(screen, inspected):
    store = screen[0]
    names = ("ER", "DNA", *store.channel_names[2:])
    by_name = inspect_store(replace(store, imaging=Imaging(channel_names=names)), QualityParameters()).quality
    by_number = inspect_store(store, QualityParameters(nucleus_channel=1)).quality
    assert by_name["n_nuclei"].equals(by_number["n_nuclei"])
    assert not by_name["n_nuclei"].equals(inspected.quality["n_nuclei"])
    with pytest.raises(ConfigError, match=r"none of its channels a, b, .*set `is_dna: true`.*or nucleus_channel"):
        inspect_store(replace(store, imaging=Imaging(channel_names=("a", "b", *names[2:]))), QualityParameters())


def test_every_flagged_site_has_a_reason_and_no_other_site_has_one(inspected):
    quality = inspected.quality
    assert quality.filter(pl.col("is_flagged") != pl.col("flag_reason").is_not_null()).is_empty()


LIGHT = """
import sys
import cellassets.screens.summary, cellassets.images.summary, cellassets.quality.summary
print([name for name in ("numpy", "polars", "torch", "imagecodecs") if name in sys.modules])
"""


def test_summaries_are_imported_without_numpy_and_polars():
    done = subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
