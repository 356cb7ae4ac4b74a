"""Screens that are not RxRx1's go through the whole line of stages: 16 bit, TIFF, planes, other channels and sizes."""

import json

import numpy as np
import polars as pl
import pytest
import yaml

from cellassets.stages.carry_out import carry_out
from cellassets.stages.plate_quality import PLATE_QUALITY
from cellassets.stages.plate_store import PLATE_STORE
from cellassets.stages.raw_plates import RAW_PLATES
from cellassets.stages.stores import open_store
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

pytestmark = pytest.mark.slow
EXPERIMENT = "HUVEC-1"


def as_microscope(landing, folder, *, n_planes, top):
    """Writes a simulated experiment again as a microscope would: 16-bit TIFF, other names, DNA as the last channel."""
    import imagecodecs
    import tifffile

    metadata = pl.read_csv(landing / EXPERIMENT / "metadata.csv", infer_schema=False)
    for path in sorted((landing / EXPERIMENT).rglob("*.png")):
        well, site, channel = path.stem.split("_")
        pixels = imagecodecs.png_decode(path.read_bytes()).astype(np.uint16) * (top // 255)
        for plane in range(1, n_planes + 1):
            name = f"r{ord(well[0]) - 64:02d}c{well[1:]}f{site[1:]}p{plane:02d}-ch{7 - int(channel[1:])}sk1fk1fl1.tiff"
            target = folder / f"{path.parent.name}__2026-01-01T00_00_00-Measurement1" / "Images" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(target, pixels if plane == 1 else pixels // 2, compression="lzw")
    kinds = {"negative_control": "negative", "positive_control": "positive", "untreated": "untreated"}
    rows = metadata.unique(["plate", "well"], maintain_order=True).select(
        pl.format("Plate{}", "plate").alias("plate"),
        "well",
        pl.col("sirna").alias("perturbation_id"),
        pl.col("well_type").replace_strict(kinds, default="treatment").alias("control_kind"),
    )
    rows.write_csv(folder / "plate_map.csv")
    channels = [{"key": str(number), "name": f"C{number}", "is_dna": number == 6} for number in range(1, 7)]
    described = {
        "layout": "opera-phenix",
        "channels": channels,
        "constants": {"cell_type": "HUVEC", "perturbation_kind": "gene"},
        "z_projection": "maximum",
        "top_grey_level": top,
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(described))
    (folder / "_COMPLETE").touch()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One simulated experiment, as RxRx1 writes it and as a microscope with 12 bits does; all stages of both."""
    home = tmp_path_factory.mktemp("foreign")
    landing = home / "landing"
    write_screen(tiny_design(), landing, experiment_ids=[EXPERIMENT])
    as_microscope(landing, landing / "PHENIX-1", n_planes=2, top=4080)
    (home / "configs").mkdir()
    (home / "configs/policy.yaml").write_text(json.dumps({"ingest": {"on_bad_site": "refuse"}}))
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    published = {}
    for experiment_id in (EXPERIMENT, "PHENIX-1"):
        for stage in (RAW_PLATES, PLATE_STORE, PLATE_QUALITY):
            published[experiment_id, stage.name] = carry_out(stage, deployment, {"experiment": experiment_id})
    return deployment, published


def store_of(made, experiment_id):
    deployment, _ = made
    return open_store(deployment.lake, deployment.lake.records().need("plate_store", experiment_id))


def quality_of(made, experiment_id):
    return pl.read_parquet(made[1][experiment_id, "plate_quality"].path("quality.parquet").path)


def test_the_same_screen_has_the_same_pixels_in_another_order_of_channels(made):
    plain, foreign = store_of(made, EXPERIMENT), store_of(made, "PHENIX-1")
    assert (foreign.dtype, foreign.channel_names) == ("uint16", tuple(f"C{number}" for number in range(1, 7)))
    assert foreign.imaging.dna_index == 5
    places = ["plate_id", "well_id", "site_index"]
    assert foreign.sites.select(places).equals(plain.sites.select(places))
    np.testing.assert_array_equal(foreign.read([0, 3])[:, ::-1], plain.read([0, 3]).astype(np.uint16) * 16)


def test_quality_judges_them_alike(made):
    plain, foreign = quality_of(made, EXPERIMENT), quality_of(made, "PHENIX-1")
    for column in ("n_nuclei", "is_flagged", "flag_reason"):
        assert foreign[column].to_list() == plain[column].to_list()
    np.testing.assert_allclose(foreign["focus"], plain["focus"], rtol=1e-4)


def test_classical_features_are_equal_but_for_the_scale(made):
    from cellassets.encoders.classical import ClassicalEncoder
    from cellassets.training.recipe import ClassicalParameters

    vectors = []
    for experiment_id, order in ((EXPERIMENT, slice(None)), ("PHENIX-1", slice(None, None, -1))):
        store = store_of(made, experiment_id)
        encoder = ClassicalEncoder(ClassicalParameters(n_channels=6, families=("sizeshape",)))
        encoder.set_up(store)
        images = store.read(range(4))[:, order] if experiment_id == EXPERIMENT else store.read(range(4))
        moments = np.ones((4, 6), np.float32)
        vectors.append(encoder.embed(images, moments, moments))
        encoder.close()
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-5)
