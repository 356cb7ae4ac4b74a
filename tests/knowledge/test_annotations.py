"""Annotation files of every form: what is read, and what is refused by file and line."""

import os

import pytest
from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.knowledge.annotation_files import read_source, source_kind
from cellassets.knowledge.annotations import MAX_SET_MEMBERS, annotation_fingerprints, read_annotations


@pytest.fixture
def source(tmp_path):
    """Returns the function that writes a file and reads it as a source."""

    def source(name, text):
        path = UPath(tmp_path / name)
        path.write_text(text)
        return read_source(path)

    return source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nx,y\n", r"has the columns \['a', 'b'\]; expected one of: entity1, entity2 \(pairs\)"),
        ("", "an empty table"),
        ("entity1,entity2\nA,B\n ,C\n", "line 3: entity1 or entity2 is missing"),
        ("entity1,entity2\nA,A\n", "no pair of two different genes in 1 rows"),
        ("entity1,entity2\nA,B,C,D\n", "line 2: 4 cells, the header has 2"),
        ("gene_symbol,chromosome_arm\nA,7\n", "chromosome_arm '7'; expected such as 1p"),
        ("gene_symbol,chromosome_arm\nA,7p\nA,8p\n", "gene 'A' is on two arms"),
        ("compound_id,gene_symbol\n", "no row below the header"),
    ],
)
def test_a_table_that_says_nothing_is_refused_by_name(source, text, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        source("known.csv", text)
    assert "known.csv" in str(caught.value)


def test_pairs_are_read_once_whatever_their_order(source):
    found = source("pairs.txt", "entity2,entity1,source\nB,A,x\nA, B,y\nC,C,x\nA,C,x\n")
    assert found.kind == "pairs"
    assert found.rows.rows() == [("A", "B"), ("A", "C")]


def test_gene_sets_are_read_from_gmt_and_from_clusters(source):
    gmt = source("go.gmt", "S1\thttp://x\tA\tB\nS2\t\tB\tC\t\n")
    clusters = source("corum.tsv", "S1\tA B\nS2\tB C \n")
    table = source("sets.csv", "set_id,member\nS1,A\nS1,B\nS2,B\nS2,C\n")
    expected = [("S1", "A"), ("S1", "B"), ("S2", "B"), ("S2", "C")]
    for found in (gmt, clusters, table):
        assert (found.kind, found.rows.rows()) == ("sets", expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("known.csv", "entity1,entity2\nA,B\n"),
        ("known.csv", "set_id,member\nA,B\n"),
        ("known.csv", "compound_id;gene_symbol\r\nA;B\r\n"),
        ("known.csv", "gene_symbol,chromosome_arm\nA,7p\n"),
        ("known.tsv", "set_id\tmember\nA\tB\n"),
        ("known.tsv", "A\tB C\n"),
        ("known.gmt", "A\t\tB\n"),
    ],
)
def test_a_byte_order_mark_changes_nothing(tmp_path, name, text):
    path = UPath(tmp_path / name)
    path.write_text(text)
    expected, kind = read_source(path), source_kind(path)
    assert expected.rows.height
    assert kind == expected.kind
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        found = read_source(path)
        assert (found.kind, found.rows.rows()) == (expected.kind, expected.rows.rows())
        assert source_kind(path) == kind


@pytest.mark.parametrize(("name", "text"), [("x.gmt", "S1\tdescription\n"), ("x.tsv", "just words\n")])
def test_a_set_without_members_is_refused_by_line(source, name, text):
    with pytest.raises(AnnotationError, match=r"line 1: set .* has no members"):
        source(name, text)


def test_pairs_without_a_header_are_not_taken_for_clusters(source):
    with pytest.raises(AnnotationError, match="no line has a second member"):
        source("string.tsv", "TP53\tMDM2\nMYC\tMAX\n")


def test_pairs_of_very_large_sets_are_no_relationships(tmp_path):
    folder = UPath(tmp_path)
    large = "\t".join(f"G{number}" for number in range(MAX_SET_MEMBERS + 1))
    (folder / "go.gmt").write_text(f"everything\t\t{large}\ncomplex\t\tA\tB\n")
    found = read_annotations(folder, ("pairs", "sets"))
    assert found.pairs["go"].rows() == [("A", "B")]
    assert found.sets["go"].height == MAX_SET_MEMBERS + 3


def test_arms_are_written_one_way(source):
    assert source("arms.csv", "gene_symbol,chromosome_arm\nA,chr1p\nB,Xq\n").rows.rows() == [("A", "1p"), ("B", "Xq")]


def test_a_lake_hands_out_the_kinds_that_are_asked_for(tmp_path):
    folder = UPath(tmp_path)
    (folder / "corum.tsv").write_text("S1\tA B C\nS2\tB C\n")
    (folder / "string.txt").write_text("entity1,entity2\nA,D\n")
    (folder / "targets.csv").write_text("compound_id,gene_symbol\nX,A\n")
    (folder / "README.md").write_text("not a source")
    found = read_annotations(folder, ("pairs", "targets"))
    assert found.pairs["corum"].rows() == [("A", "B"), ("A", "C"), ("B", "C")]
    assert sorted(found.pairs) == ["corum", "string"]
    assert found.sets == {}
    assert found.targets["targets"].rows() == [("X", "A")]
    assert sorted(annotation_fingerprints(folder, ("targets",))) == ["targets"]
    assert sorted(annotation_fingerprints(folder, ("pairs",))) == ["corum", "string"]
    assert annotation_fingerprints(folder, ("other_maps",)) == {}
    assert sorted(read_annotations(folder, ("pairs",), ("string",)).pairs) == ["string"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["corum.csv", "corum.tsv", "corum.gmt"])
def test_a_pipe_among_the_annotations_is_refused_and_never_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for look in (annotation_fingerprints, read_annotations):
        with pytest.raises(AnnotationError, match=f"{name}: not a file; remove it"):
            look(UPath(tmp_path), ["pairs"])


def test_two_files_of_one_name_are_refused(tmp_path):
    for suffix in (".csv", ".txt"):
        (tmp_path / f"a{suffix}").write_text("entity1,entity2\nA,D\n")
    with pytest.raises(AnnotationError, match="two files of one source"):
        read_annotations(UPath(tmp_path), ("pairs",))


def test_an_absent_folder_knows_nothing(tmp_path):
    assert read_annotations(UPath(tmp_path / "none"), ("pairs",)).pairs == {}
