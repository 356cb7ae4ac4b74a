"""The declared packs: complete, pinned, and equal to the real files where these are at hand."""

import hashlib
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from cellassets.errors import AnnotationError
from cellassets.knowledge.pack_files import check_file
from cellassets.knowledge.pack_tables import pack_content, pack_source
from cellassets.knowledge.packs import Pack, find_pack, packs

# real copies, which are not part of this repository
REAL = Path(os.environ.get("CELLASSETS_REAL_FILES", Path(__file__).parents[3] / "shared/data"))
REAL_FILES = {
    **{
        name: f"recursionpharma+EFAAR_benchmarking/efaar_benchmarking/benchmark_annotations/{name}.txt"
        for name in ("CORUM", "HuMAP", "Reactome", "SIGNOR", "StringDB")
    },
    "CORUM_clusters": (
        "recursionpharma+EFAAR_benchmarking/efaar_benchmarking/benchmark_annotations/CORUM_clusters.tsv"
    ),
    "JUMP_Target": "jump-cellpainting+JUMP-Target/JUMP-Target-2_compound_metadata.tsv",
}


def test_the_five_sources_of_the_literature_arms_and_targets_are_declared():
    kinds = {name: pack.kind for name, pack in packs().items()}
    assert kinds == {
        "CORUM": "pairs", "CORUM_clusters": "sets", "HuMAP": "pairs", "Reactome": "pairs", "SIGNOR": "pairs",
        "StringDB": "pairs", "JUMP_Target": "targets", "gene_arms": "gene_arms",
    }  # fmt: skip


def test_every_checksum_belongs_to_an_address_that_cannot_change():
    for pack in packs().values():
        assert (pack.sha256 is not None) == ("2248f400630abf" in pack.url or "2da0551610a265" in pack.url), pack.name


def test_the_sources_that_may_not_be_used_commercially_say_so():
    assert {name for name, pack in packs().items() if pack.licence.is_non_commercial} == {
        "CORUM", "CORUM_clusters", "SIGNOR",
    }  # fmt: skip
    assert find_pack("CORUM").licence.describe() == "CC-BY-NC-4.0, not for commercial use"
    assert find_pack("HuMAP").licence.describe() == "CC-BY-4.0"


@pytest.mark.parametrize("name", sorted(REAL_FILES))
def test_a_real_file_is_what_its_pack_declares(name):
    path = REAL / REAL_FILES[name]
    if not path.is_file():
        pytest.skip(f"{path} is not here; its terms do not allow it in this repository")
    content, pack = path.read_bytes(), find_pack(name)
    check_file(content, sha256=pack.sha256, n_bytes=pack.n_bytes, source=str(path))
    assert len(content) == pack.n_bytes
    assert pack_source(pack, pack_content(pack, content)).rows.height == pack.n_rows


def test_a_mistyped_pack_gets_a_suggestion():
    with pytest.raises(AnnotationError, match=r"no annotation pack 'string-db'.*did you mean StringDB"):
        find_pack("string-db")
    with pytest.raises(AnnotationError, match="there are CORUM, CORUM_clusters, HuMAP"):
        find_pack("xyz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "http://127.0.0.1/x.txt"}, "url"),
        ({"sha256": None}, "known together or not at all"),
        ({"sha256": "ABC"}, "sha256"),
        ({"columns": {"entity1": {"source": "a"}}}, "pairs need \\['entity1', 'entity2'\\]"),
        ({"name": "../x"}, "name"),
    ],
)
def test_a_wrong_declaration_is_refused(pack, change, message):
    with pytest.raises(ValidationError, match=message):
        Pack.model_validate({**pack.model_dump(), **change})


def test_targets_are_read_from_lists_in_cells_and_rows_without_a_target_are_left_out():
    table = (
        "broad_sample\tInChIKey\ttarget_list\n"
        "B1\tKEY-1\tAKT1|AKT2\n"
        "B2\tKEY-2\tNA\n"
        "B3\tKEY-3\t\n"
        "B4\tKEY-1\tAKT2|MTOR\n"
    )  # fmt: skip
    pack = find_pack("JUMP_Target").model_copy(update={"n_rows": None})
    source = pack_source(pack, pack_content(pack, table.encode()))
    assert source.rows.rows() == [("KEY-1", "AKT1"), ("KEY-1", "AKT2"), ("KEY-1", "MTOR")]


def test_arms_are_read_from_bands_and_genes_without_one_arm_are_left_out():
    places = {
        "TP53": "17p13.1", "CFTR": "7q31.2", "XIST": "Xq13.2", "SRY": "Yp11.2", "TERT": "5p15.33", "LEFT": "2qter",
        "PAR": "Xp22.33 and Yp11.32", "MT-ND1": "mitochondria", "HLA-X": "6p21.32 alternate reference locus",
        "WIDE": "1p36-q21", "NONE": "", "RESERVED": "reserved",
    }  # fmt: skip
    table = "hgnc_id\tsymbol\tlocation\n" + "".join(f"H\t{gene}\t{place}\n" for gene, place in places.items())
    pack = find_pack("gene_arms")
    assert dict(pack_source(pack, pack_content(pack, table.encode())).rows.rows()) == {
        "TP53": "17p", "CFTR": "7q", "XIST": "Xq", "SRY": "Yp", "TERT": "5p", "LEFT": "2q",
    }  # fmt: skip
    assert pack.file_name == "gene_arms.csv"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"symbol\tplace\nTP53\t17p\n", r"gene_arms: the fetched file lacks the columns \['location'\]"),
        (b"symbol\tlocation\nTP53\t17p\tmore\n", "gene_arms, as fetched, line 2: 3 cells, the header has 2"),
        (b"symbol\tlocation\nTP53\tnowhere\n", "gene_arms: no row below the header"),
    ],
)
def test_another_table_is_refused_by_the_name_of_its_pack(table, message):
    pack = find_pack("gene_arms")
    with pytest.raises(AnnotationError, match=message):
        pack_source(pack, pack_content(pack, table))


def test_another_number_of_rows_than_declared_is_refused(pack, pairs):
    with pytest.raises(AnnotationError, match="PAIRS: the file has 3 rows of pairs, the pack declares 4 of pairs"):
        pack_source(pack.model_copy(update={"n_rows": 4}), pairs)


def test_a_wrong_checksum_names_both(pack):
    with pytest.raises(AnnotationError) as caught:
        check_file(b"other", sha256=pack.sha256, n_bytes=pack.n_bytes, source="x.txt")
    for part in (hashlib.sha256(b"other").hexdigest(), pack.sha256, "5 bytes", f"{pack.n_bytes} bytes"):
        assert part in str(caught.value)
