"""The design in configs/examples has RxRx1's names, plates, wells and classes, and a screen like it is read whole."""

from pathlib import Path

import imagecodecs
import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.published.rxrx1 import treatment_groups
from cellassets.configuration import load_yaml
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.screen import experiment_wells, metadata_table

DESIGN = UPath(Path(__file__).parents[2] / "configs/examples/designs/rxrx1_like.yaml")
COLUMNS = [
    "site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "well_type", "sirna",
    "sirna_id",
]  # fmt: skip
pytestmark = pytest.mark.slow
PER_PLATE = {"treatment": 277, "positive_control": 30, "negative_control": 1}


@pytest.fixture(scope="module")
def metadata() -> dict[str, pl.DataFrame]:
    """Metadata of two experiments with RxRx1's eleven columns."""
    design = load_yaml(DESIGN, ScreenDesign)
    biology = plant_biology(design)
    wells = {name: experiment_wells(design, biology, name) for name in ("HUVEC-01", "HUVEC-02")}
    return {name: metadata_table(design, some).select(COLUMNS) for name, some in wells.items()}


def test_the_metadata_have_the_counts_and_the_classes_of_rxrx1(metadata):
    table = metadata["HUVEC-01"]
    assert table.height == 4 * 308 * 2
    assert (table["well"].min(), table["well"].max()) == ("B02", "O23")
    assert table["well"].n_unique() == 14 * 22
    of_plate = table.filter(site=1).group_by("plate", "well_type").len()
    assert {(plate, kind): n for plate, kind, n in of_plate.rows()} == {
        (plate, kind): n for plate in range(1, 5) for kind, n in PER_PLATE.items()
    }
    classes = table.group_by("well_type").agg(pl.col("sirna_id").unique().sort())
    assert {kind: (ids[0], ids[-1], len(ids)) for kind, ids in classes.rows()} == {
        "treatment": (0, 1107, 1108),
        "positive_control": (1108, 1137, 30),
        "negative_control": (1138, 1138, 1),
    }
    assert table.row(0, named=True)["site_id"] == "HUVEC-01_1_B02_1"


def test_the_same_treatments_share_a_plate_in_every_experiment_in_other_wells(metadata):
    first, second = (
        table.filter(pl.col("site") == 1, pl.col("well_type") == "treatment") for table in metadata.values()
    )
    for plate in range(1, 5):
        assert set(first.filter(plate=plate)["sirna"]) == set(second.filter(plate=plate)["sirna"])
    assert first.join(second, on=["plate", "well", "sirna"]).height < 20


def test_a_screen_of_these_sizes_is_read_with_1139_classes_in_four_groups(metadata, tmp_path):
    """Small images of one of the two sites; one table for all experiments, as published."""
    metadata = {name: table.filter(site=1) for name, table in metadata.items()}
    table, rng = metadata["HUVEC-01"], np.random.default_rng(0)
    for plate, well, site in table.select("plate", "well", "site").rows():
        folder = tmp_path / f"landing/HUVEC-01/Plate{plate}"
        folder.mkdir(parents=True, exist_ok=True)
        for channel, image in enumerate(rng.integers(0, 255, (6, 16, 16), dtype=np.uint8), 1):
            (folder / f"{well}_s{site}_w{channel}.png").write_bytes(imagecodecs.png_encode(image, level=1))
    pl.concat(metadata.values()).write_csv(tmp_path / "landing/metadata.csv")

    found = check_experiment(UPath(tmp_path / "landing"), "HUVEC-01", policy=IngestPolicy())
    assert found.findings.is_empty()
    assert (found.n_sites, found.images.height) == (1_232, 7_392)
    assert found.wells.group_by("plate_id").len().sort("plate_id").rows() == [(f"Plate{n}", 308) for n in range(1, 5)]
    kinds = dict(found.wells["control_kind"].value_counts().rows())
    assert kinds == {None: 1108, "positive": 120, "negative": 4}
    names = tuple(sorted(found.wells["perturbation_id"].unique()))
    assert len(names) == 1139
    groups = treatment_groups(found.wells, names)
    assert np.bincount(groups + 1).tolist() == [31, 277, 277, 277, 277]
