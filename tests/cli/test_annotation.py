"""`cellassets annotation`: sources are checked before they are added; packs show their licence first."""

import hashlib
import io
import json
from pathlib import Path

import pytest
import yaml

from cellassets.knowledge import packs as declarations

PAIRS = b"entity1,entity2\nALPHA1,ALPHA2\nALPHA2,ALPHA1\nbeta1,NOBODY\n"


@pytest.fixture
def place(tmp_path) -> Path:
    """A new home: nothing but an empty landing zone."""
    (tmp_path / "home/landing").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def pack_file(tmp_path, monkeypatch):
    """The file of the only pack that is declared, PAIRS."""
    licence = {"name": "NC", "spdx": "CC-BY-NC-4.0", "url": "https://127.0.0.1/nc", "is_non_commercial": True}
    pack = {
        "name": "PAIRS", "title": "Two pairs", "kind": "pairs", "url": "https://127.0.0.1:9/PAIRS.txt",
        "version": "2.0", "licence": licence, "citation": "Nobody (2026)", "n_rows": 2, "n_bytes": len(PAIRS),
        "sha256": hashlib.sha256(PAIRS).hexdigest(),
    }  # fmt: skip
    path = tmp_path / "packs.yaml"
    path.write_text(yaml.safe_dump({"packs": [pack]}))
    monkeypatch.setattr(declarations, "DECLARED", path)
    declarations.packs.cache_clear()
    file = tmp_path / "downloaded.txt"
    file.write_bytes(PAIRS)
    yield file
    declarations.packs.cache_clear()


def listed(run, place):
    return json.loads(run("annotation", "list", "--home", place, "--json"))


@pytest.mark.parametrize(("name", "why"), [("gone.csv", "cannot be read (No such file"), ("folder.csv", "not a file")])
def test_a_file_that_cannot_be_read_is_refused(place, refused, tmp_path, name, why):
    (tmp_path / "folder.csv").mkdir()
    path = tmp_path / name
    told = refused("annotation", "add", path, "--home", place)
    assert f"AnnotationError: {path}: {why}" in told


def test_an_address_that_is_none_is_refused(place, refused):
    told = refused("annotation", "install", "CORUM", "--from", "https://[bad", "--accept-licence", "--home", place)
    assert "AnnotationError: https://[bad: not an address (Invalid IPv6 URL)" in told


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
    (row,) = [row for row in listed(run, place) if row["state"] != "available"]
    assert (row["name"], row["state"], row["kind"], row["n_rows"]) == ("pairs", "added", "pairs", 1)
    assert row["licence"] == "not recorded"


def test_an_annotation_with_an_unknown_suffix_is_refused(place, refused, tmp_path):
    (tmp_path / "pairs.CSV").write_text("entity1,entity2\nA,B\n")
    told = refused("annotation", "add", tmp_path / "pairs.CSV", "--home", place)
    assert "suffix '.CSV'; expected one of .csv" in told
    assert not (place / "lake").exists()


def test_a_mistyped_home_gets_no_annotations(refused, tmp_path):
    (tmp_path / "pairs.csv").write_text("entity1,entity2\nA,B\n")
    assert "no deployment here" in refused("annotation", "add", tmp_path / "pairs.csv", "--home", tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_a_pack_shows_its_terms_and_is_installed_only_if_they_are_accepted(place, call, refused, pack_file):
    install = ("annotation", "install", "PAIRS", "--from", pack_file, "--home", place)
    told = refused(*install)
    terms = ("version 2.0", "CC-BY-NC-4.0", "https://127.0.0.1/nc", "not for commercial use", "cite Nobody (2026)")
    for part in (*terms, "57 bytes, 2 rows of pairs", "was not accepted", "give --accept-licence"):
        assert part in told
    assert not (place / "lake/annotations").exists()
    answer = call(*install, "--accept-licence")
    assert answer.status == 0
    assert Path(answer.stdout.strip()).read_bytes() == PAIRS
    for part in terms:
        assert part in " ".join(answer.stderr.split())


def test_a_person_at_a_terminal_is_asked(place, call, pack_file, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    install = ("annotation", "install", "PAIRS", "--from", pack_file, "--home", place)
    for said, status in (("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(said))
        answer = call(*install)
        assert "Do you accept the licence?" in answer.stderr
        assert answer.status == status
        assert (place / "lake/annotations/PAIRS.txt").exists() == (status == 0)


def test_a_pack_is_fetched_from_an_address_and_says_which_genes_of_the_datasets_it_names(home, run, web, pack_file):
    server, address = web({"/PAIRS.txt": pack_file.read_bytes()})
    told = run(
        "annotation", "install", "PAIRS", "--from", f"{address}/PAIRS.txt", "--accept-licence", "--home", home, "--json"
    )
    found = json.loads(told)
    assert server.asked == ["/PAIRS.txt"]
    assert (found["source"], found["checksum_from"]) == (f"{address}/PAIRS.txt", "pack")
    assert sorted(found["datasets"]) == ["HUVEC", "U2OS"]
    names = found["datasets"]["HUVEC"]
    assert (names["n_names"], names["n_covered"], names["n_rows"]) == (20, 2, 1)
    assert names["in_other_case"] == ["BETA1"]
    words = run("annotation", "install", "PAIRS", "--from", pack_file, "--accept-licence", "--home", home)
    assert "HUVEC: 2 of 20 names are in the source, 1 of its rows (pairs) have all names in the dataset" in words
    assert "not counted, in another letter case: BETA1" in words


def test_a_source_that_names_nothing_of_any_dataset_is_added_with_a_warning(home, call, tmp_path):
    strange, fitting = tmp_path / "strange.csv", tmp_path / "fitting.csv"
    strange.write_text("entity1,entity2\nalpha1,NOBODY\n")
    fitting.write_text("entity1,entity2\nALPHA1,NOBODY\n")
    answer = call("annotation", "add", strange, "--home", home)
    assert answer.status == 0
    assert Path(answer.stdout.strip()).is_file()
    warning = "WARNING: strange: none of its names is a gene or compound of a dataset (HUVEC, U2OS)"
    assert warning in " ".join(answer.stderr.split())
    assert "WARNING" not in call("annotation", "add", fitting, "--home", home).stderr
    (tmp_path / "new/landing").mkdir(parents=True)
    assert "WARNING" not in call("annotation", "add", strange, "--home", tmp_path / "new").stderr, "no dataset yet"


def test_a_list_shows_what_is_installed_and_what_can_be(place, run, pack_file):
    (row,) = listed(run, place)
    assert (row["name"], row["state"], row["version"], row["n_rows"]) == ("PAIRS", "available", "2.0", 2)
    run("annotation", "install", "PAIRS", "--from", pack_file, "--accept-licence", "--home", place)
    (row,) = listed(run, place)
    assert (row["state"], row["licence"]) == ("installed", "CC-BY-NC-4.0, not for commercial use")
    (place / "lake/annotations/PAIRS.txt").write_text("entity1,entity2\nA,B\n")
    (row,) = listed(run, place)
    assert (row["state"], row["licence"], row["n_rows"]) == ("changed after installation", "not recorded", 1)
    assert "removed" in run("annotation", "remove", "PAIRS", "--home", place)
    assert [row["state"] for row in listed(run, place)] == ["available"]


def test_a_first_use_without_a_checksum_is_said_loudly(place, call, tmp_path):
    table = tmp_path / "hgnc.txt"
    table.write_text("symbol\tlocation\nTP53\t17p13.1\n")
    answer = call(
        "annotation", "install", "gene_arms", "--from", table, "--accept-licence", "--trust-first-use", "--home", place
    )
    assert answer.status == 0
    assert "WARNING: nobody named a checksum for gene_arms" in answer.stderr
    assert hashlib.sha256(table.read_bytes()).hexdigest() in answer.stderr
    assert (place / "lake/annotations/gene_arms.csv").read_text() == "gene_symbol,chromosome_arm\nTP53,17p\n"


def test_a_wrong_choice_of_column_is_wrong_usage(place, call, pack_file):
    answer = call(
        "annotation", "install", "PAIRS", "--from", pack_file, "--accept-licence", "--column", "x", "--home", place
    )
    assert answer.status == 2
    assert "expected OURS=THEIRS" in answer.stderr
