"""Every shipped layout is recognised on a tree with the real names, and reads wells, channels and pixels rightly."""

import functools
import json

import imagecodecs
import numpy as np
import polars as pl
import pytest
import tifffile
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.layouts.choose import all_layouts, choose_layout, shipped_layouts
from cellassets.screens.policy import IngestPolicy

SIX = ("Hoechst", "ConA", "Phalloidin", "SYTO14", "MitoTracker", "WGA")
FIVE = ("Hoechst", "ConA", "Phalloidin", "SYTO14", "WGA")
# layout, (wells, sites, height, dtype), channels, DNA channel
TREES = [
    ("rxrx1", (2, 4, 512, "uint8"), SIX, 0),
    ("rxrx2", (2, 8, 1024, "uint8"), SIX, 0),
    ("rxrx19a", (4, 16, 1024, "uint8"), FIVE, 0),
    ("rxrx19b", (4, 4, 2048, "uint8"), SIX, 0),
    ("rxrx3", (2, 2, 2048, "uint16"), SIX, 0),
    ("rxrx3-core", (4, 4, 512, "uint8"), SIX, 0),
    ("jump", (3, 6, 1080, "uint16"), ("DNA", "ER", "RNA", "AGP", "Mito"), 0),
    ("opera-phenix", (2, 4, 1080, "uint16"), ("Mito", "DAPI"), 1),
    ("imagexpress", (2, 4, 540, "uint16"), ("channel 1", "channel 2", "channel 3"), None),
    ("ome-zarr", (2, 4, 540, "uint16"), ("DAPI", "ER"), 0),
]


def tree_of(trees, name):
    return getattr(trees, name.replace("-", "_"))


@pytest.fixture(scope="module")
def landed(trees, tmp_path_factory):
    """Returns landing zone and experiment of a layout; each tree is written once and only read."""

    @functools.cache
    def landed(name):
        landing = tmp_path_factory.mktemp(name)
        return landing, tree_of(trees, name)(landing)

    return landed


def manifest_of(landing, experiment):
    return check_experiment(UPath(landing), experiment, policy=IngestPolicy(on_bad_site="refuse"))


def wells_of(landing, experiment):
    return {row["well_id"]: row for row in manifest_of(landing, experiment).wells.iter_rows(named=True)}


def stored(landing, experiment, folder):
    manifest = manifest_of(landing, experiment)
    packing = Packing(UPath(landing) / experiment, UPath(folder), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    return manifest, ExperimentStore.open(UPath(folder), packed.files, experiment)


@pytest.mark.parametrize(("name", "size", "channels", "dna"), TREES, ids=[case[0] for case in TREES])
def test_a_tree_is_recognised_and_stored_bit_for_bit(tmp_path, landed, name, size, channels, dna):
    landing, experiment = landed(name)
    assert choose_layout(UPath(landing), experiment).name == name
    fitting = [other for other, layout in shipped_layouts().items() if layout.recognises(UPath(landing), experiment)]
    assert fitting == [name]
    manifest, store = stored(landing, experiment, tmp_path / "store")
    assert manifest.layout_name == name
    assert set(manifest.findings["consequence"]) <= {"file_ignored", "none"}
    assert (manifest.wells.height, store.n_sites, store.height, store.dtype) == size
    assert store.channel_names == channels
    assert store.imaging.dna_index == dna
    site = store.sites.row(0, named=True)
    place = [pl.col(column) == site[column] for column in ("plate_id", "well_id", "site_index")]
    files = manifest.images.filter(place).sort("channel_index")
    for stored_channel, file in zip(store.read([0])[0], files.iter_rows(named=True), strict=True):
        np.testing.assert_array_equal(stored_channel, independent(landing / experiment, file))


def independent(folder, file):
    """The pixels of an image, read without the code under test."""
    path, part = folder / file["path"], file["part"]
    if part is not None and part.startswith("row "):
        row = pl.read_parquet(path.resolve()).row(int(part[4:]) - 1, named=True)
        return imagecodecs.jpeg2k_decode(row["jp2"]["bytes"])
    if part is not None:
        import zarr

        channel, z = (int(part.split(f"{axis} ")[1].split()[0]) for axis in "cz")
        return zarr.open_array(str(path), mode="r")[0, channel, z]
    return tifffile.imread(path) if path.suffix.startswith(".tif") else imagecodecs.png_decode(path.read_bytes())


def test_every_shipped_layout_has_a_tree_here():
    refused = {name for name, layout in shipped_layouts().items() if layout.declared.refusal is not None}
    assert set(shipped_layouts()) - refused == {case[0] for case in TREES}
    assert set(all_layouts()) >= set(shipped_layouts())


def test_the_colour_files_of_wilds_are_named_and_refused(trees, tmp_path):
    experiment = trees.rxrx1(tmp_path)
    for path in sorted((tmp_path / experiment).rglob("*_w*.png")):
        colour = np.dstack([imagecodecs.png_decode(path.read_bytes())] * 3)
        (path.parent / f"{path.stem[:-3]}.png").write_bytes(imagecodecs.png_encode(colour))
        path.unlink()
    with pytest.raises(LayoutError, match=r"HUVEC-1: .*RxRx1-WILDS, with three channels in one.*; land the original"):
        manifest_of(tmp_path, experiment)
    (tmp_path / "metadata.csv").write_text("plate,well\n1,B02\n")
    with pytest.raises(LayoutError, match="none of the layouts"):
        choose_layout(UPath(tmp_path), experiment)


def test_rxrx1_takes_the_guide_from_sirna(landed):
    wells = wells_of(*landed("rxrx1"))
    treated = {"perturbation_id": "s21721", "perturbation_kind": "gene", "guide_id": "s21721", "control_kind": None}
    assert wells["M23"] == {**wells["M23"], **treated, "plate_id": "Plate1", "cell_type": "HUVEC"}
    control = {"perturbation_id": "EMPTY", "perturbation_kind": "control", "guide_id": None, "control_kind": "negative"}
    assert wells["B02"] == {**wells["B02"], **control}


def test_rxrx2_keeps_its_concentrations_in_names(landed):
    wells = wells_of(*landed("rxrx2"))
    treated = {"perturbation_id": "TNF 0.001 mg/mL", "perturbation_kind": "compound", "concentration_um": None}
    assert wells["AA02"] == {**wells["AA02"], **treated, "compound_id": "TNF", "control_kind": None}
    assert (wells["B03"]["perturbation_id"], wells["B03"]["control_kind"]) == ("EMPTY", "negative")


def test_rxrx19_has_infected_wells_as_negative_and_healthy_ones_as_positive_controls(landed):
    a = wells_of(*landed("rxrx19a"))
    assert {well: row["control_kind"] for well, row in a.items()} == {
        "AA02": None, "B03": "negative", "C04": "positive", "D05": "positive",
    }  # fmt: skip
    assert (a["AA02"]["perturbation_id"], a["AA02"]["concentration_um"]) == ("Remdesivir 3.0 uM", 3.0)
    assert a["C04"]["perturbation_id"] == "no compound, Mock"
    b = wells_of(*landed("rxrx19b"))
    assert {well: row["control_kind"] for well, row in b.items()} == {
        "AA02": None, "B03": "negative", "C04": "positive", "D05": "untreated",
    }  # fmt: skip
    assert b["D05"]["perturbation_id"] == "no compound, no cytokines"


def test_rxrx3_has_guides_in_gene_experiments_and_doses_in_compound_experiments(landed):
    genes = wells_of(*landed("rxrx3"))
    treated = {"perturbation_id": "RPLP2_guide_4", "gene_symbol": "RPLP2", "guide_id": "RPLP2_guide_4"}
    assert genes["AA02"] == {**genes["AA02"], **treated, "perturbation_kind": "gene", "compound_id": None}
    assert (genes["P28"]["control_kind"], genes["P28"]["gene_symbol"]) == ("negative", None)
    compounds = wells_of(*landed("rxrx3-core"))
    treated = {"perturbation_id": "Dequalinium 0.25 uM", "compound_id": "Dequalinium", "concentration_um": 0.25}
    assert compounds["D20"] == {**compounds["D20"], **treated, "perturbation_kind": "compound", "guide_id": None}
    assert compounds["E20"]["perturbation_id"] == "Dequalinium 1 uM"
    assert [compounds[well]["control_kind"] for well in ("U08", "B08")] == ["negative", "negative"]


def test_jump_joins_barcode_plate_map_and_compounds_and_finds_files_by_their_listed_names(landed):
    wells = wells_of(*landed("jump"))
    treated = {"perturbation_id": "gabapentin-enacarbil", "compound_id": "TZDUHAJSIBHXDL", "cell_type": "U2OS"}
    assert wells["A01"] == {**wells["A01"], **treated, "plate_id": "BR00116991", "perturbation_kind": "compound"}
    assert (wells["A02"]["perturbation_id"], wells["A02"]["control_kind"]) == ("DMSO", "negative")
    assert wells["P24"]["control_kind"] == "positive"
    dna = manifest_of(*landed("jump")).images.filter(pl.col("channel_name") == "DNA")
    assert {path.rpartition("-")[2] for path in dna["path"]} == {"ch5sk1fk1fl1.tiff"}


def test_planes_become_their_maximum_and_several_without_a_rule_are_refused(tmp_path, trees):
    experiment = trees.opera_phenix(tmp_path, n_planes=3)
    manifest, store = stored(tmp_path, experiment, tmp_path / "store")
    assert sorted(manifest.images["z_index"].unique()) == [1, 2, 3]
    names = [f"r01c01f01p0{plane}-ch1sk1fk1fl1.tiff" for plane in (1, 2, 3)]
    expected = np.max([trees.pixels(name, 1080, "uint16", 4095) for name in names], axis=0)
    np.testing.assert_array_equal(store.read([0])[0, 0], expected)
    path = tmp_path / experiment / "experiment.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "z_projection": None}))
    with pytest.raises(LayoutError, match=r"A01 site 1 channel 1: planes 1, 2, 3; .*z_projection"):
        manifest_of(tmp_path, experiment)


def test_older_ome_zarr_plates_are_read_too(tmp_path, trees):
    experiment = trees.ome_zarr(tmp_path, version="0.4")
    manifest, store = stored(tmp_path, experiment, tmp_path / "store")
    assert (store.n_sites, store.channel_names, manifest.layout_name) == (4, ("DAPI", "ER"), "ome-zarr")
