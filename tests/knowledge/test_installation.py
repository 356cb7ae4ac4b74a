"""Installing and removing packs: a table is never there without its provenance, and a refusal leaves nothing."""

import hashlib
import json
import threading

import pytest
from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.knowledge import installed_sources as module
from cellassets.knowledge.annotations import read_annotations
from cellassets.knowledge.installation import Order, install_pack
from cellassets.knowledge.installed_sources import installed_sources, remove_source

ORDER = {"is_licence_accepted": True, "installed_at": "2026-11-27T08:00:00+00:00", "installed_by": "ada"}


@pytest.fixture
def folder(tmp_path):
    """The annotations of a lake, which do not exist yet."""
    return UPath(tmp_path / "lake/annotations")


@pytest.fixture
def file(tmp_path, pairs):
    """The pack's file on disk."""
    path = tmp_path / "PAIRS.txt"
    path.write_bytes(pairs)
    return path


@pytest.fixture
def install(folder, pack, file):
    """Installs the pack from its file: `install(sha256=..., is_licence_accepted=False)`."""

    def install(*, pack=pack, **changes):
        return install_pack(folder, pack, Order(**{**ORDER, "source": str(file), **changes}))

    return install


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_what_is_installed_is_the_file_with_its_provenance(install, folder, file, pack):
    installed = install()
    assert installed.path.read_bytes() == file.read_bytes()
    assert names(folder) == [f"PAIRS.{pack.sha256[:12]}.json", "PAIRS.txt"]
    told = json.loads((folder / f"PAIRS.{pack.sha256[:12]}.json").read_text())
    expected = {
        "name": "PAIRS", "version": "1.0", "source": str(file), "source_sha256": pack.sha256, "sha256": pack.sha256,
        "checksum_from": "pack", "n_rows": 3, "citation": "Nobody (2026)", "columns": {},
        "installed_at": "2026-11-27T08:00:00+00:00", "installed_by": "ada", "licence": pack.licence.model_dump(),
    }  # fmt: skip
    assert told == expected
    assert read_annotations(folder, ("pairs",)).pairs["PAIRS"].height == 3
    source = installed_sources(folder)["PAIRS"]
    assert (source.provenance, source.is_changed) == (installed.provenance, False)


def test_a_pack_comes_from_its_own_address(web, install, pack, pairs):
    server, address = web({"/PAIRS.txt": pairs})
    installed = install(pack=pack.model_copy(update={"url": f"{address}/PAIRS.txt"}), source=None)
    assert installed.provenance.source == f"{address}/PAIRS.txt"
    assert server.asked == ["/PAIRS.txt"]


def test_without_the_licence_nothing_is_fetched(web, install, folder, pack, pairs):
    server, address = web({"/PAIRS.txt": pairs})
    with pytest.raises(AnnotationError, match=r"PAIRS: its licence \(CC-BY-NC-4.0, not for commercial use, https:"):
        install(pack=pack.model_copy(update={"url": f"{address}/PAIRS.txt"}), source=None, is_licence_accepted=False)
    assert (server.asked, names(folder)) == ([], [])


def test_a_download_that_is_cut_off_leaves_nothing(web, install, folder, pairs):
    _, address = web({"/PAIRS.txt": web.server.cut_off(pairs, 20)})
    with pytest.raises(AnnotationError, match=r"20 of 53 bytes|IncompleteRead"):
        install(source=f"{address}/PAIRS.txt")
    assert names(folder) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"entity1,entity2\nTP53,MDM2\n", "expected [0-9a-f]{64} .53 bytes.: the file is damaged"),
        (b"x" * 10_000, "at least 10000 bytes, expected at most 53"),
    ],
)
def test_another_file_leaves_nothing(install, folder, file, content, message):
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        install()
    assert names(folder) == []


def test_a_file_that_is_no_table_is_refused_after_its_checksum(install, folder, file, pack):
    file.write_bytes(b"not a table")
    unknown = pack.model_copy(update={"sha256": None, "n_bytes": None, "n_rows": None})
    with pytest.raises(AnnotationError, match="PAIRS: has the columns"):
        install(pack=unknown, sha256=hashlib.sha256(b"not a table").hexdigest())
    assert names(folder) == []


def test_installing_again_changes_nothing(install, folder):
    first = install()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = install(installed_by="bob", installed_at="2027-01-01T00:00:00+00:00")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert installed_sources(folder)["PAIRS"].provenance == first.provenance
    assert again.source.rows.equals(first.source.rows)


def test_an_installation_that_is_killed_shows_nothing_and_is_completed_by_the_next(install, folder, monkeypatch):
    written = []

    def killed_at_the_table(path, content):
        written.append(path.name)
        if path.suffix == ".txt":
            raise KeyboardInterrupt
        write_bytes(path, content)

    write_bytes = module.write_bytes
    monkeypatch.setattr(module, "write_bytes", killed_at_the_table)
    with pytest.raises(KeyboardInterrupt):
        install()
    assert [name.rpartition(".")[2] for name in written] == ["json", "txt"]
    assert installed_sources(folder) == {}
    monkeypatch.undo()
    install()
    assert installed_sources(folder)["PAIRS"].provenance is not None


def test_many_installations_at_once_leave_one_source_with_its_provenance(install, folder):
    gate, faults = threading.Barrier(8), []

    def one(number):
        gate.wait()
        try:
            install(installed_by=f"person {number}")
        except BaseException as error:  # noqa: BLE001 - a thread's fault must reach the test
            faults.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert [name.rpartition(".")[2] for name in names(folder)] == ["json", "txt"]
    assert installed_sources(folder)["PAIRS"].provenance.installed_by.startswith("person")


def test_a_newer_version_of_a_pack_replaces_the_table(install, folder, file, pack):
    install()
    file.write_bytes(b"entity1,entity2\nA,B\n")
    changes = {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "n_bytes": 20, "n_rows": 1, "version": "2.0"}
    install(pack=pack.model_copy(update=changes))
    source = installed_sources(folder)["PAIRS"]
    assert (source.provenance.version, source.path.read_bytes()) == ("2.0", file.read_bytes())


def test_a_source_that_somebody_added_or_changed_is_not_overwritten(install, folder):
    folder.mkdir(parents=True)
    (folder / "PAIRS.txt").write_text("entity1,entity2\nA,B\n")
    with pytest.raises(AnnotationError, match=r"was added by hand; nothing was installed.*annotation remove PAIRS"):
        install()
    remove_source(folder, "PAIRS")
    install()
    (folder / "PAIRS.txt").write_text("entity1,entity2\nA,B\n")
    assert installed_sources(folder)["PAIRS"].is_changed
    with pytest.raises(AnnotationError, match="was changed after it was installed"):
        install()
    assert (folder / "PAIRS.txt").read_text() == "entity1,entity2\nA,B\n"


def test_a_source_of_the_same_name_in_another_form_is_not_doubled(install, folder):
    folder.mkdir(parents=True)
    (folder / "PAIRS.csv").write_text("entity1,entity2\nA,B\n")
    with pytest.raises(AnnotationError, match=r"PAIRS.csv: a source of this name is there"):
        install()
    assert names(folder) == ["PAIRS.csv"]


def test_the_same_table_added_by_hand_gets_its_provenance(install, folder, pairs):
    folder.mkdir(parents=True)
    (folder / "PAIRS.txt").write_bytes(pairs)
    assert installed_sources(folder)["PAIRS"].provenance is None
    install()
    assert installed_sources(folder)["PAIRS"].provenance.version == "1.0"


def test_removing_leaves_nothing_of_the_source(install, folder):
    install()
    (folder / "PAIRS.x.csv").write_text("entity1,entity2\nA,B\n")  # a source whose name begins alike
    assert remove_source(folder, "PAIRS").name == "PAIRS.txt"
    assert names(folder) == ["PAIRS.x.csv"]
    with pytest.raises(AnnotationError, match=r"no annotation source \['PAIRS'\]"):
        remove_source(folder, "PAIRS")


def test_a_pack_without_a_checksum_needs_one_or_trust(install, folder, file, pack):
    unknown = pack.model_copy(update={"sha256": None, "n_bytes": None, "n_rows": None})
    with pytest.raises(AnnotationError, match=r"PAIRS: no checksum is known.*--sha256, or trust.*--trust-first-use"):
        install(pack=unknown)
    with pytest.raises(AnnotationError, match="expected 0000"):
        install(pack=unknown, sha256="0" * 64)
    assert names(folder) == []
    assert install(pack=unknown, is_first_trusted=True).provenance.checksum_from == "first use"
    assert "trusted at first use" in installed_sources(folder)["PAIRS"].provenance.describe()
    file.write_bytes(b"entity1,entity2\nA,B\n")
    with pytest.raises(AnnotationError, match=f"expected {pack.sha256}"):
        install(pack=unknown, is_first_trusted=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert install(pack=unknown, sha256=digest).provenance.checksum_from == "given"
    assert installed_sources(folder)["PAIRS"].provenance.sha256 == digest


def test_a_given_checksum_does_not_replace_the_declared_one(install, pack):
    with pytest.raises(AnnotationError, match=f"declares SHA-256 {pack.sha256}, --sha256 is 0000"):
        install(sha256="0" * 64)


def test_a_column_can_be_chosen_and_is_recorded(folder, tmp_path):
    from cellassets.knowledge.packs import find_pack

    table = b"broad_sample\tInChIKey\tpert_iname\ttarget_list\nB1\tKEY-1\tdrug\tAKT1\n"
    (tmp_path / "targets.tsv").write_bytes(table)
    digest = hashlib.sha256(table).hexdigest()
    pack = find_pack("JUMP_Target").model_copy(update={"sha256": digest, "n_bytes": len(table), "n_rows": 1})
    order = {**ORDER, "source": str(tmp_path / "targets.tsv")}
    assert install_pack(folder, pack, Order(**order)).source.rows.rows() == [("KEY-1", "AKT1")]
    chosen = install_pack(folder, pack, Order(**order, columns={"compound_id": "pert_iname"}))
    assert chosen.source.rows.rows() == [("drug", "AKT1")]
    assert installed_sources(folder)["JUMP_Target"].provenance.columns == {"compound_id": "pert_iname"}
    with pytest.raises(AnnotationError, match=r"cannot choose the column of \['dose'\].*'compound_id', 'gene_symbol'"):
        install_pack(folder, pack, Order(**order, columns={"dose": "x"}))


def test_a_damaged_provenance_is_named(install, folder, pack):
    install()
    (folder / f"PAIRS.{pack.sha256[:12]}.json").write_text("{")
    with pytest.raises(AnnotationError, match=r"PAIRS\.\w+\.json: not the provenance of an annotation source"):
        installed_sources(folder)
