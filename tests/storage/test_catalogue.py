"""The catalogue tells a reader of every change, in order, with many writers, on SQLite and on Postgres."""

from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from cellassets.errors import ArtifactMissing
from cellassets.storage.artifact import Record
from cellassets.storage.catalogue import N_ROWS_PER_STATEMENT, Catalogue
from cellassets.storage.records import Records, current_records

N_WRITERS, N_PUBLICATIONS = 6, 25


@pytest.fixture
def catalogue(database_url) -> Catalogue:
    return Catalogue(database_url)


def record(key, generation=1, kind="plate_store") -> Record:
    return Record(
        kind=kind,
        keys=tuple(key.split("/")) if key else (),
        plan_fingerprint=f"plan-{generation}",
        fingerprint=f"made-{generation}",
        generation=generation,
        folder="folder",
        inputs={},
        files=(),
        summary={"number": generation, "name": "é'\"%:x"},
    )


def known(catalogue) -> dict[str, int]:
    return {"/".join(row.keys): row.generation for row in catalogue.since(0)}


def test_what_is_noted_is_read_back(catalogue):
    catalogue.note([record("E-1", 3), record("", kind="leaderboard")])
    first, second = catalogue.since(0)
    assert (first.kind, first.keys, first.generation) == ("plate_store", ("E-1",), 3)
    assert (first.plan_fingerprint, first.fingerprint) == ("plan-3", "made-3")
    assert first.summary_json == '{"name": "\\u00e9\'\\"%:x", "number": 3}'
    assert (second.kind, second.keys) == ("leaderboard", ())
    assert catalogue.generations() == {("plate_store", ("E-1",)): 3, ("leaderboard", ()): 1}


def test_noting_again_or_an_older_publication_changes_nothing(catalogue):
    catalogue.note([record("E-1", 2)])
    position = catalogue.state().sequence
    catalogue.note([record("E-1", 2)])
    catalogue.note([record("E-1", 1)])
    assert catalogue.since(position) == []
    assert known(catalogue) == {"E-1": 2}


def test_a_process_reads_a_row_once_and_what_it_got_before_stays(catalogue, monkeypatch):
    """Every partition of a run asks for all records; a large lake must not be read again for each."""
    read, since = [], Catalogue.since

    def counted(self, sequence):
        read.extend(rows := since(self, sequence))
        return rows

    monkeypatch.setattr(Catalogue, "since", counted)
    catalogue.note([record(f"E-{number}") for number in range(30)])
    before = current_records(catalogue)
    catalogue.note([record("E-1", 2), record("E-30")])
    after = current_records(Catalogue(catalogue.url))
    assert len(read) == 30 + 2
    assert (before.need("plate_store", "E-1").generation, after.need("plate_store", "E-1").generation) == (1, 2)
    assert (len(before.keys("plate_store")), len(after.keys("plate_store"))) == (30, 31)
    before.refresh()
    assert before.need("plate_store", "E-1").generation == 2


def test_noting_nothing_is_no_change(catalogue):
    catalogue.note([])
    assert catalogue.state().sequence == 0


def test_a_newer_publication_is_a_change(catalogue):
    catalogue.note([record("E-1", 1), record("E-2", 1)])
    position = catalogue.state().sequence
    catalogue.note([record("E-1", 2)])
    assert [(row.keys, row.generation) for row in catalogue.since(position)] == [(("E-1",), 2)]


def test_a_deleted_publication_is_a_change_and_can_be_published_again(catalogue):
    catalogue.note([record("E-1", 2)])
    position = catalogue.state().sequence
    catalogue.note([], deleted={("plate_store", ("E-1",)): 2})
    assert [(row.keys, row.generation) for row in catalogue.since(position)] == [(("E-1",), 0)]
    assert catalogue.generations() == {}
    catalogue.note([record("E-1", 1)])
    assert known(catalogue) == {"E-1": 1}


def test_a_row_that_changed_meanwhile_is_not_deleted(catalogue):
    catalogue.note([record("E-1", 2)])
    catalogue.note([], deleted={("plate_store", ("E-1",)): 1, ("plate_store", ("unknown",)): 1})
    assert known(catalogue) == {"E-1": 2}


def test_more_rows_than_one_statement_takes_are_noted_in_order(catalogue):
    names = [f"E-{number:04d}" for number in range(2 * N_ROWS_PER_STATEMENT + 3)]
    catalogue.note([record(name) for name in names])
    assert [row.keys[0] for row in catalogue.since(0)] == names
    assert catalogue.state().sequence == len(names)


def write(url, writer, barrier):
    barrier.wait()
    for number in range(N_PUBLICATIONS):
        Catalogue(url).note([record(f"own-{writer}-{number}"), record("shared", N_PUBLICATIONS * number + writer + 1)])


def test_a_reader_beside_many_writers_sees_every_change(database_url):
    """The writers open a new database at the same moment; the reader asks all the time for what it has not seen."""
    context = get_context("fork")
    barrier = context.Barrier(N_WRITERS + 1)
    writers = [context.Process(target=write, args=(database_url, number, barrier)) for number in range(N_WRITERS)]
    for process in writers:
        process.start()
    barrier.wait()
    records, seen, n_polls = Records(Catalogue(database_url)), set(), 0
    while any(process.is_alive() for process in writers):
        seen |= records.refresh()
        n_polls += 1
    seen |= records.refresh()
    assert [process.exitcode for process in writers] == [0] * N_WRITERS
    wanted = {("plate_store", (f"own-{writer}-{n}",)) for writer in range(N_WRITERS) for n in range(N_PUBLICATIONS)}
    assert seen == wanted | {("plate_store", ("shared",))}
    newest = N_PUBLICATIONS * (N_PUBLICATIONS - 1) + N_WRITERS
    assert records.need("plate_store", "shared").generation == newest
    assert Catalogue(database_url).state().sequence == 2 * N_WRITERS * N_PUBLICATIONS
    assert n_polls > 1


# --- records in memory ---


def test_records_follow_the_catalogue(catalogue):
    records = Records(catalogue)
    assert records.refresh() == set()
    catalogue.note(
        [record("E-1"), record("E-1/m.v1", kind="site_embeddings"), record("E-1/n.v1", kind="site_embeddings")]
    )
    assert len(records.refresh()) == 3
    assert records.keys("plate_store") == ("E-1",)
    assert records.keys("site_embeddings") == ("E-1",)
    assert records.keys("site_embeddings", "E-1") == ("m.v1", "n.v1")
    catalogue.note([record("E-1", 2)], deleted={("site_embeddings", ("E-1", "m.v1")): 1})
    assert records.refresh() == {("plate_store", ("E-1",)), ("site_embeddings", ("E-1", "m.v1"))}
    assert records.need("plate_store", "E-1").generation == 2
    assert records.keys("site_embeddings", "E-1") == ("n.v1",)
    catalogue.note([], deleted={("site_embeddings", ("E-1", "n.v1")): 1})
    records.refresh()
    assert records.keys("site_embeddings") == ()
    assert records.keys("site_embeddings", "E-1") == ()


def test_only_changed_rows_are_read(catalogue):
    catalogue.note([record(f"E-{number}") for number in range(50)])
    records = Records(catalogue)
    records.refresh()
    assert records.n_rows_read == 50
    records.refresh()
    assert records.n_rows_read == 50
    catalogue.note([record("E-7", 2)])
    assert records.refresh() == {("plate_store", ("E-7",))}
    assert records.n_rows_read == 51


def test_what_is_missing_is_named(catalogue):
    with pytest.raises(ArtifactMissing, match="plate_store of E-9 is not published"):
        Records(catalogue).need("plate_store", "E-9")


def test_another_catalogue_at_the_same_place_is_noticed(catalogue, database_url):
    catalogue.note([record("E-1"), record("E-2")])
    records = Records(catalogue)
    records.refresh()
    drop(database_url)
    assert not catalogue.state().is_scanned
    catalogue.note([record("E-2"), record("E-3"), record("E-4")])
    assert records.refresh() == {("plate_store", (f"E-{number}",)) for number in (1, 2, 3, 4)}
    assert records.keys("plate_store") == ("E-2", "E-3", "E-4")


def test_a_catalogue_restored_from_a_backup_is_read_anew(catalogue, database_url):
    catalogue.note([record("E-1"), record("E-2")])
    records = Records(catalogue)
    records.refresh()
    engine = create_engine(database_url)
    with engine.begin() as connection:  # what was there before E-2 was published
        connection.exec_driver_sql("DELETE FROM publications WHERE keys = 'E-2'")
        connection.exec_driver_sql("UPDATE catalogue SET sequence = 1")
    engine.dispose()
    assert ("plate_store", ("E-2",)) in records.refresh()
    assert records.keys("plate_store") == ("E-1",)


def drop(url) -> None:
    """Deletes the catalogue by hand, while other objects use it."""
    if url.startswith("sqlite"):
        for path in Path(url.removeprefix("sqlite:///")).parent.glob("catalogue.db*"):
            path.unlink()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("publications", "catalogue"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    engine.dispose()
