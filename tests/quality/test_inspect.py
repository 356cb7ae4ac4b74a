"""Quality of a simulated screen with planted faults: three sites out of focus."""

import io
import subprocess
import sys

import imagecodecs
import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.images.pack import pack_experiment
from cellassets.quality.inspect import inspect_experiment, inspect_store
from cellassets.quality.measures import QualityParameters
from cellassets.quality.summary import PlateQualitySummary
from cellassets.screens.codecs import decode_png
from cellassets.screens.ingest import ingest_plates
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.lake import Lake
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import QUALITY

N_BLURRED = 3


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """A tiny screen with three sites out of focus."""
    root = tmp_path_factory.mktemp("inspected")
    design = tiny_design()
    experiment_id = min(design.experiments)
    write_screen(design, root / "landing", experiment_ids=[experiment_id])
    sites = sorted({path.name.rsplit("_w", 1)[0] for path in (root / f"landing/{experiment_id}/Plate1").glob("*.png")})
    blurred = sites[5 : 5 + N_BLURRED]
    for site in blurred:
        for path in (root / f"landing/{experiment_id}/Plate1").glob(f"{site}_w*.png"):
            pixels = gaussian_filter(decode_png(path.read_bytes(), source=path.name).astype(np.float32), 4)
            path.write_bytes(imagecodecs.png_encode(pixels.astype(np.uint8)))
    lake = Lake(UPath(root / "lake"))
    ingest_plates(lake, UPath(root / "landing"), experiment_id, policy=IngestPolicy())
    pack_experiment(lake, experiment_id, landing=UPath(root / "landing"))
    return lake, experiment_id, blurred, inspect_experiment(lake, experiment_id)


def test_blurred_sites_are_flagged_and_few_others(inspected):
    lake, experiment_id, blurred, record = inspected
    quality = read_table(lake.plate_quality(experiment_id).path("quality.parquet"), QUALITY)
    is_blurred = quality["flag_reason"].str.contains("out of focus").fill_null(value=False)
    found = quality.filter(is_blurred).select("plate_id", "well_id", "site_index").rows()
    assert found == [("Plate1", name.split("_s")[0], int(name.split("_s")[1])) for name in blurred]
    assert quality["is_flagged"].mean() < 0.1
    assert record.summary["flag_reasons"]["out of focus"] == N_BLURRED
    assert record.summary["n_sites"] == quality.height


def test_every_plate_gets_a_heat_map_and_a_contact_sheet(inspected):
    lake, experiment_id, _, record = inspected
    names = {entry.name for entry in record.files if not entry.name.endswith(".parquet")}
    plates = sorted({name.split("_")[1].split(".")[0] for name in names})
    assert names == {f"heatmap_{plate}.png" for plate in plates} | {f"contact_{plate}.jpg" for plate in plates}
    for name in names:
        picture = Image.open(io.BytesIO(lake.plate_quality(experiment_id).path(name).read_bytes()))
        assert np.asarray(picture).std() > 20, f"{name} shows nothing"


def test_inspecting_again_does_nothing_and_earlier_parameters_give_the_same_bytes(inspected):
    lake, experiment_id, _, record = inspected
    assert inspect_experiment(lake, experiment_id) == record
    table = lake.plate_quality(experiment_id).path("quality.parquet").read_bytes()
    again = inspect_experiment(lake, experiment_id, parameters=QualityParameters(max_robust_z=6.5))
    assert again.fingerprint != record.fingerprint
    back = inspect_experiment(lake, experiment_id)
    assert back.fingerprint == record.fingerprint
    assert back.generation == record.generation + 2
    assert lake.plate_quality(experiment_id).path("quality.parquet").read_bytes() == table


def test_a_missing_nucleus_channel_is_refused(inspected):
    lake, experiment_id, _, _ = inspected
    with pytest.raises(ConfigError, match="has 6 channels, nucleus_channel is 6"):
        inspect_experiment(lake, experiment_id, parameters=QualityParameters(nucleus_channel=6))


def test_every_flagged_site_has_a_reason_and_no_other_site_has_one(inspected):
    lake, experiment_id, _, _ = inspected
    quality = read_table(lake.plate_quality(experiment_id).path("quality.parquet"), QUALITY)
    assert quality.filter(pl.col("is_flagged") != pl.col("flag_reason").is_not_null()).is_empty()


def test_a_store_is_inspected_without_a_lake(inspected, open_store):
    lake, experiment_id, _, record = inspected
    found = inspect_store(open_store(lake, experiment_id), QualityParameters())
    published = read_table(lake.plate_quality(experiment_id).path("quality.parquet"), QUALITY)
    assert found.quality.equals(published)
    assert found.summary.model_dump(mode="json") == record.summary
    for name, content in found.pictures.items():
        assert lake.plate_quality(experiment_id).path(name).read_bytes() == content


def test_a_published_summary_has_exactly_the_fields_of_its_model(inspected):
    record = inspected[-1]
    assert PlateQualitySummary.model_validate(record.summary).model_dump(mode="json") == record.summary
    assert set(record.summary) == {"n_sites", "n_flagged", "flag_reasons", "nuclei_per_site"}


LIGHT = """
import sys
import cellassets.screens.summary, cellassets.images.summary, cellassets.quality.summary
print([name for name in ("numpy", "polars", "torch", "imagecodecs") if name in sys.modules])
"""


def test_summaries_are_imported_without_numpy_and_polars():
    done = subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
