"""`cellassets status`: how many partitions are done, and what the others wait for."""

import json
import shutil

import yaml

from cellassets.reconcile.standing import EMBEDDINGS_TITLE, PLATES_TITLE


def stands(run, home):
    return {stand["what"]: stand for stand in json.loads(run("status", "--home", home, "--json"))}


def test_a_cell_type_that_is_not_active_shows_as_waiting(settled, run):
    found = stands(run, settled)
    assert found[PLATES_TITLE] == {"what": PLATES_TITLE, "n_done": 2, "n_total": 2, "waiting": []}
    embeddings = found[EMBEDDINGS_TITLE]
    assert (embeddings["n_done"], embeddings["n_total"]) == (1, 2)
    (waiting,) = embeddings["waiting"]
    assert waiting["what"].startswith("dataset U2OS")
    assert waiting["reason"].startswith("it is not active")
    said = run("status", "--home", settled)
    assert f"│ {PLATES_TITLE}" in said
    assert "- dataset U2OS" in said
    assert "it is not active: name it in datasets.active of policy.yaml, or run scripts/backfill.py" in said


def test_a_third_cell_type_that_landed_shows_as_waiting_too(home, run):
    (home / "configs/policy.yaml").write_text("datasets: {active: []}\n")
    found = stands(run, home)[EMBEDDINGS_TITLE]["waiting"]
    assert [item["what"].split(" (")[0] for item in found] == ["dataset U2OS"], "HUVEC has a map and stays active"
    shutil.rmtree(home / "lake/records/perturbation_map")
    run("lake", "scan", "--home", home)
    found = stands(run, home)[EMBEDDINGS_TITLE]["waiting"]
    assert [item["what"].split(" (")[0] for item in found] == ["dataset HUVEC", "dataset U2OS"]


def test_what_is_ignored_or_not_complete_in_the_landing_zone_shows(home, run):
    (home / "landing/HUVEC 1").mkdir()
    shutil.copytree(home / "landing/U2OS-1", home / "landing/u2os-1")
    (home / "landing/U2OS-1/_COMPLETE").unlink()
    found = stands(run, home)[PLATES_TITLE]
    assert (found["n_done"], found["n_total"]) == (1, 2)
    reasons = {item["what"]: item["reason"] for item in found["waiting"]}
    assert "rename the folder" in reasons["landing zone, HUVEC 1"]
    assert "its name and that of U2OS-1 differ in letter case alone" in reasons["landing zone, u2os-1"]
    assert "no _COMPLETE in it" in reasons["landing zone, U2OS-1"]


def test_everything_done_is_said(home, run):
    shutil.rmtree(home / "landing/U2OS-1")
    shutil.rmtree(home / "lake/records/raw_plates/U2OS-1")
    run("lake", "scan", "--home", home)
    assert "Everything that should exist does, and is up to date." in run("status", "--home", home)


def test_what_is_due_is_not_said_to_wait(home, run):
    shutil.copytree(home / "configs", home / "other")
    (home / "other/benchmarks/dose_response.yaml").write_text(yaml.safe_dump({"n_permutations": 199}))
    said = run("status", "--home", home, "--configs", home / "other")
    assert "0 of 1" in said
    assert "- benchmark/dose_response" not in said


def test_a_wrong_policy_is_refused_with_file_and_key(home, refused):
    (home / "configs/policy.yaml").write_text("modles: {}\n")
    told = refused("status", "--home", home)
    assert "policy.yaml" in told
    assert "modles" in told
