"""`cellassets dataset`: which there are, what is wrong with the others, and freezing."""

import json

import yaml


def test_datasets_are_listed_with_their_experiments_and_whether_they_are_active(settled, run):
    rows = json.loads(run("dataset", "list", "--home", settled, "--json"))
    shown = [(row["dataset_id"], row["is_active"], row["experiments"]) for row in rows]
    assert shown == [("HUVEC", True, ["HUVEC-1"]), ("U2OS", False, ["U2OS-1"])]
    assert "HUVEC-1" in run("dataset", "list", "--home", settled)


def test_a_dataset_that_cannot_be_used_is_named_and_the_status_is_1(home, refused):
    (home / "configs/datasets").mkdir()
    (home / "configs/datasets/old.yaml").write_text("experiment_ids: [HUVEC-9]\nfrozen_fingerprint: abc\n")
    told = refused("dataset", "list", "--home", home)
    assert "dataset old: " in told
    assert "HUVEC-9" in told


def test_a_frozen_dataset_is_a_dataset_file(home, run, refused):
    text = run("dataset", "freeze", "HUVEC", "--home", home)
    assert yaml.safe_load(text)["experiment_ids"] == ["HUVEC-1"]
    (home / "configs/datasets").mkdir()
    (home / "configs/datasets/huvec_frozen.yaml").write_text(text)
    rows = {row["dataset_id"]: row for row in json.loads(run("dataset", "list", "--home", home, "--json"))}
    assert rows["huvec_frozen"]["fingerprint"] == rows["HUVEC"]["fingerprint"]
    assert "known: HUVEC, U2OS" in refused("dataset", "freeze", "RPE", "--home", home)
