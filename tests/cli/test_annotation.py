"""`cellassets annotation`: sources are checked before they are added."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path) -> Path:
    """A new home: nothing but an empty landing zone."""
    (tmp_path / "home/landing").mkdir(parents=True)
    return tmp_path / "home"


def test_annotations_are_checked_before_they_are_added(place, run, refused, tmp_path):
    good, bad = tmp_path / "pairs.csv", tmp_path / "wrong.csv"
    good.write_text("entity1,entity2\nA,B\n")
    bad.write_text("gene1,gene2\nA,B\n")
    assert Path(run("annotation", "add", good, "--home", place).strip()).read_text() == good.read_text()
    assert "expected one of: entity1, entity2 (pairs)" in refused("annotation", "add", bad, "--home", place)
    twin = tmp_path / "pairs.txt"
    twin.write_text(good.read_text())
    assert "a source of this name already" in refused("annotation", "add", twin, "--home", place)
    assert [path.name for path in (place / "lake/annotations").iterdir()] == ["pairs.csv"]
    (row,) = json.loads(run("annotation", "list", "--home", place, "--json"))
    assert (row["name"], row["kind"]) == ("pairs", "pairs")


def test_an_annotation_with_an_unknown_suffix_is_refused(place, refused, tmp_path):
    (tmp_path / "pairs.CSV").write_text("entity1,entity2\nA,B\n")
    told = refused("annotation", "add", tmp_path / "pairs.CSV", "--home", place)
    assert "suffix '.CSV'; expected one of .csv" in told
    assert not (place / "lake").exists()


def test_a_mistyped_home_gets_no_annotations(refused, tmp_path):
    (tmp_path / "pairs.csv").write_text("entity1,entity2\nA,B\n")
    assert "no deployment here" in refused("annotation", "add", tmp_path / "pairs.csv", "--home", tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
