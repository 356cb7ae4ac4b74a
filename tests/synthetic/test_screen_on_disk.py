"""A written screen has RxRx1's layout, is the same in every run, and agrees with its truth tables."""

import csv
import hashlib
import json

import imagecodecs
import pytest

from cellassets.errors import ConfigError
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth

RXRX1_COLUMNS = [
    "site_id",
    "well_id",
    "cell_type",
    "dataset",
    "experiment",
    "plate",
    "well",
    "site",
    "well_type",
    "sirna",
    "sirna_id",
]
MORE_COLUMNS = ["perturbation_kind", "gene_symbol", "guide_id", "compound_id", "concentration_um"]


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def read_csv(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def design():
    return tiny_design(image_size=64, n_sites_per_well=2)


@pytest.fixture(scope="module")
def landing(design, tmp_path_factory):
    landing = tmp_path_factory.mktemp("landing")
    write_screen(design, landing, n_threads=2)
    write_truth(design, landing.parent / f"{landing.name}-truth")
    return landing


@pytest.fixture(scope="module")
def truth(landing):
    return landing.parent / f"{landing.name}-truth"


def test_experiments_have_the_layout_of_rxrx1(design, landing):
    assert sorted(p.name for p in landing.iterdir()) == sorted(design.experiments)
    images = sorted(p.name for p in (landing / "HUVEC-1" / "Plate1").iterdir())
    assert len(images) == 42 * 2 * 6
    assert images[0].endswith("_s1_w1.png")
    assert (landing / "HUVEC-1" / "_COMPLETE").read_text() == f"{len(images)}\n"


def test_images_are_8_bit_grey_and_have_the_size_of_the_design(landing):
    for path in sorted((landing / "U2OS-1" / "Plate1").iterdir())[:12]:
        image = imagecodecs.png_decode(path.read_bytes())
        assert image.dtype.name == "uint8"
        assert image.shape == (64, 64)


def test_metadata_have_the_columns_of_rxrx1_and_one_row_per_site(landing):
    rows = read_csv(landing / "HUVEC-2" / "metadata.csv")
    assert list(rows[0]) == RXRX1_COLUMNS + MORE_COLUMNS
    assert len(rows) == 42 * 2
    for row in rows:
        well = f"HUVEC-2_1_{row['well']}"
        assert (row["well_id"], row["site_id"]) == (well, f"{well}_{row['site']}")
        assert (landing / "HUVEC-2" / f"Plate{row['plate']}" / f"{row['well']}_s{row['site']}_w6.png").is_file()


def test_metadata_agree_with_the_truth(landing, truth):
    planted = {row["perturbation_id"]: row for row in read_csv(truth / "perturbations.csv")}
    for row in read_csv(landing / "HUVEC-1" / "metadata.csv"):
        known = planted[row["sirna"]]
        for column in (*MORE_COLUMNS, "well_type"):
            assert row[column] == known[column]
    assert {row["sirna"] for row in read_csv(landing / "HUVEC-1" / "metadata.csv")} == set(planted)


def test_truth_names_pairs_of_genes_that_are_on_the_plates(landing, truth):
    genes = {row["gene_symbol"] for row in read_csv(landing / "HUVEC-1" / "metadata.csv")}
    same = {(row["entity1"], row["entity2"]) for row in read_csv(truth / "gene_pairs.csv")}
    opposite = {(row["entity1"], row["entity2"]) for row in read_csv(truth / "opposite_pairs.csv")}
    assert len(same) == 4 * 3
    assert len(opposite) == 3 * 3
    assert not same & opposite
    assert {gene for pair in same | opposite for gene in pair} <= genes
    inert = json.loads((truth / "truth.json").read_text())["inert_genes"]
    assert len(inert) == 4
    assert {row["complex"] for row in read_csv(truth / "compound_targets.csv")} <= {
        row["complex"] for row in read_csv(truth / "complexes.csv")
    }


def test_truth_has_a_number_for_each_nuisance_of_batches_and_plates(design, truth):
    rows = read_csv(truth / "nuisances.csv")
    assert {row["experiment_id"] for row in rows if row["nuisance_kind"] == "batch"} == set(design.experiments)
    assert {row["plate_id"] for row in rows if row["nuisance_kind"] == "plate"} == {"Plate1"}
    assert all(float(row["value"]) == float(row["value"]) for row in rows)


def test_an_experiment_is_bit_identical_for_any_number_of_threads_and_other_experiments(design, landing, tmp_path):
    write_screen(design, tmp_path, experiment_ids=["U2OS-1"], n_threads=1)
    assert [p.name for p in tmp_path.iterdir()] == ["U2OS-1"]
    assert digests(tmp_path / "U2OS-1") == digests(landing / "U2OS-1")


def test_some_plates_of_an_experiment_are_a_screen_of_their_own(tmp_path):
    design = tiny_design(image_size=64, n_plates_per_experiment=2)
    (folder,) = write_screen(design, tmp_path, experiment_ids=["HUVEC-1"], plate_ids=["Plate2"])
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["Plate2"]
    assert {row["plate"] for row in read_csv(folder / "metadata.csv")} == {"2"}
    with pytest.raises(ConfigError, match=r"the design has no plates \['Plate3'\]; it has \['Plate1', 'Plate2'\]"):
        write_screen(design, tmp_path, plate_ids=["Plate3"])


def test_another_seed_gives_another_screen(landing, tmp_path):
    other = tiny_design(image_size=64, n_sites_per_well=2, seed=1)
    write_screen(other, tmp_path, experiment_ids=["HUVEC-1"])
    first, second = digests(landing / "HUVEC-1"), digests(tmp_path / "HUVEC-1")
    assert [name for name in set(first) & set(second) if first[name] == second[name]] == ["_COMPLETE"]


def test_complete_experiments_are_not_written_again(design, landing):
    before = {path: path.stat().st_mtime_ns for path in landing.rglob("*")}
    reports = []
    write_screen(design, landing, progress=lambda *report: reports.append(report))
    assert reports == []
    assert {path: path.stat().st_mtime_ns for path in landing.rglob("*")} == before


def test_an_incomplete_experiment_is_completed_and_progress_is_reported(design, tmp_path):
    reports = []
    write_screen(design, tmp_path, experiment_ids=["HUVEC-1"], progress=lambda *report: reports.append(report))
    assert reports[-1] == (42, 42, "wells in the landing zone")
    before = digests(tmp_path)
    (tmp_path / "HUVEC-1" / "_COMPLETE").unlink()
    next((tmp_path / "HUVEC-1" / "Plate1").iterdir()).unlink()
    write_screen(design, tmp_path, experiment_ids=["HUVEC-1"])
    assert digests(tmp_path) == before
    assert (tmp_path / "HUVEC-1" / "_COMPLETE").is_file()


def test_unknown_experiment_is_refused(design, tmp_path):
    with pytest.raises(ConfigError, match=r"no experiments \['RPE-1'\]; it has \['HUVEC-1'"):
        write_screen(design, tmp_path, experiment_ids=["RPE-1"])


def test_truth_is_bit_identical_on_each_run(design, truth, tmp_path):
    write_truth(design, tmp_path)
    assert digests(tmp_path) == digests(truth)
