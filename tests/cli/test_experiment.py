"""`cellassets screen` and `experiment`: a simulated screen, its check, and what is stored."""

import json
import shutil

import pytest
import yaml


@pytest.fixture
def landing(screen, tmp_path):
    """A landing zone that a test may change."""
    shutil.copytree(screen / "landing/HUVEC-1", tmp_path / "landing/HUVEC-1")
    return tmp_path / "landing"


def test_a_simulated_screen_lands_complete_and_with_its_truth(run, tmp_path):
    design = {"cell_types": [{"name": "HUVEC", "n_experiments": 1}], "n_rows": 4, "n_columns": 6, "image_size": 64}
    design |= {"n_plates_per_experiment": 1, "n_sites_per_well": 1, "n_genes": 4, "complex_sizes": [2, 2]}
    design |= {"n_opposite_pairs": 0, "n_compounds": 0, "targeted_frac": 0.0, "doses_um": [1.0], "inert_frac": 0.0}
    design |= {"n_wells_per_perturbation": 1, "n_negative_controls": 6, "n_positive_controls": 2}
    (tmp_path / "design.yaml").write_text(yaml.safe_dump(design))
    assert run("screen", "simulate", tmp_path / "landing", "--design", tmp_path / "design.yaml").strip() == str(
        tmp_path / "landing"
    )
    assert (tmp_path / "landing/HUVEC-1/_COMPLETE").exists()
    assert (tmp_path / "truth").is_dir()


def test_a_clean_experiment_says_what_was_checked(landing, run):
    assert run("experiment", "check", landing, "HUVEC-1") == "HUVEC-1: no findings, 252 images of 42 sites\n"
    assert json.loads(run("experiment", "check", landing, "HUVEC-1", "--json")) == []


def test_a_damaged_image_is_named_and_the_status_is_1(landing, call):
    image = next((landing / "HUVEC-1/Plate1").glob("*.png"))
    image.write_bytes(image.read_bytes()[:100])
    answer = call("experiment", "check", landing, "HUVEC-1", "--json")
    assert answer.status == 1
    (finding,) = json.loads(answer.stdout)
    assert finding["path"].endswith(image.name)
    answer = call("experiment", "check", landing, "HUVEC-1")
    assert image.name in answer.stdout
    assert "1 findings; policy accepts the rest of it" in answer.stderr


def test_a_refusal_by_policy_shows_all_findings_and_the_reason(landing, call):
    for image in (landing / "HUVEC-1/Plate1").glob("*_w1.png"):
        image.unlink()
    answer = call("experiment", "check", landing, "HUVEC-1", "--json")
    assert answer.status == 1
    assert len(json.loads(answer.stdout)) == 43
    assert "PlateRefused: experiment HUVEC-1 refused: no site is left" in answer.stderr


def test_the_settings_are_those_of_the_home_of_the_landing_zone(landing, refused, run):
    settings = landing.parent / "mine"
    settings.mkdir()
    (settings / "policy.yaml").write_text("ingest: {image_size_px: [8, 8]}\n")
    (landing.parent / "deployment.yaml").write_text("configs: mine\n")
    assert refused("experiment", "check", landing, "HUVEC-1")
    (landing.parent / "deployment.yaml").unlink()
    assert "no findings" in run("experiment", "check", landing, "HUVEC-1")
    assert refused("experiment", "check", landing, "HUVEC-1", "--configs", settings)


def test_stored_experiments_are_listed(settled, run):
    rows = json.loads(run("experiment", "list", "--home", settled, "--json"))
    assert [row["experiment_id"] for row in rows] == ["HUVEC-1", "U2OS-1"]
    assert rows[0] == {**rows[0], "cell_types": "HUVEC", "n_plates": 1, "n_wells": 42, "n_sites": 42, "n_findings": 0}
    assert "HUVEC-1" in run("experiment", "list", "--home", settled)
