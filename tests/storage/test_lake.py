"""Drafts become publications as a whole, pinned publications stay as they were, and a scan corrects the catalogue."""

import errno
import os
import signal
from multiprocessing import get_context
from pathlib import Path

import pytest
from pydantic import BaseModel
from upath import UPath

from cellassets.errors import (
    ArtifactMissing,
    CellAssetsError,
    ConfigError,
    CorruptArtifact,
    PartitionKeyError,
    StaleArtifact,
)
from cellassets.storage import artifact as artifact_module
from cellassets.storage.artifact import Artifact, create_file, names_in, write_bytes
from cellassets.storage.catalogue import Catalogue
from cellassets.storage.lake import Lake
from cellassets.storage.paths import resolve_below
from cellassets.storage.plan import Plan

N_ROUNDS = 8


class Summary(BaseModel):
    """Summary of a test's artefact."""

    n_rows: int = 1


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(UPath(tmp_path / "lake"))


def plan_of(lake, value, *keys, kind="plate_store") -> Plan:
    published = lake.records().find(kind, *keys)
    return Plan(kind, keys, {"value": value}, replaces=0 if published is None else published.generation)


def make(lake, plan, content=b"content"):
    with lake.draft(plan) as draft:
        write_bytes(draft.folder / "t.bin", content)
        return draft.publish(["t.bin"], Summary())


def begin(lake, plan, **options):
    """A run that fails after its first file."""
    with lake.draft(plan, **options) as draft:
        create_file(draft.folder / "t.bin", b"half")
        raise ZeroDivisionError


def folders(lake, *parts) -> list[str]:
    place = Path(lake.root.path).joinpath("data", *parts)
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


# --- drafts ---


def test_a_draft_is_published_and_seen_by_the_catalogue(lake):
    record = make(lake, plan_of(lake, 1, "E-1"))
    assert lake.current("plate_store", "E-1").record == record
    found = lake.records().need("plate_store", "E-1")
    assert (found.fingerprint, found.generation) == (record.fingerprint, 1)
    assert found.summary(Summary) == Summary(n_rows=1)


def test_a_failed_draft_leaves_no_folder(lake):
    plan = plan_of(lake, 1, "E-1")
    with pytest.raises(ZeroDivisionError):
        begin(lake, plan)
    assert folders(lake, "plate_store", "E-1") == []
    assert lake.records().find("plate_store", "E-1") is None


def test_a_failed_draft_leaves_no_object_on_an_object_store(tmp_path):
    lake = Lake(UPath(f"memory://{tmp_path.name}"), f"sqlite:///{tmp_path}/catalogue.db")
    with pytest.raises(ZeroDivisionError):
        begin(lake, Plan("plate_store", ("E-1",), {}))
    assert [path for path in lake.root.fs.find(lake.root.path) if "t.bin" in path] == []


def test_a_disk_that_is_full_when_the_record_is_written_publishes_nothing(lake, monkeypatch):
    plan = plan_of(lake, 1, "E-1")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    describe = artifact_module.describe_file

    def describe_and_fill(*args):
        monkeypatch.setattr(artifact_module.os, "fsync", full)
        return describe(*args)

    monkeypatch.setattr("cellassets.storage.lake.describe_file", describe_and_fill)
    with pytest.raises(OSError, match="No space left"):
        make(lake, plan)
    monkeypatch.undo()
    assert lake.artifact("plate_store", "E-1").find_record() is None
    assert folders(lake, "plate_store", "E-1") == []


def test_files_stay_when_the_catalogue_fails_after_the_commit(lake, monkeypatch):
    plan = plan_of(lake, 1, "E-1")

    def fail(*_args, **_named):
        raise ConnectionError

    monkeypatch.setattr(Catalogue, "note", fail)
    with pytest.raises(ConnectionError):
        make(lake, plan)
    monkeypatch.undo()
    published = lake.current("plate_store", "E-1")
    published.artifact.verify(published.record)
    assert lake.records().find("plate_store", "E-1") is None  # the catalogue missed it ...
    assert lake.find_done(plan) == published.record  # ... until the retry finds its work done
    assert lake.records().need("plate_store", "E-1").generation == 1


def test_a_retry_of_another_plan_notes_what_the_catalogue_missed_and_does_not_count_as_done(lake):
    early = plan_of(lake, 2, "E-1")
    make(lake, plan_of(lake, 1, "E-1"))
    assert lake.find_done(early) is None
    with pytest.raises(StaleArtifact, match="another run published"):
        make(lake, early)


def test_the_loser_of_two_equal_plans_gets_the_record_and_its_folder_goes(lake):
    plan = plan_of(lake, 1, "E-1")
    first = make(lake, plan, b"first")
    assert make(lake, plan, b"second") == first
    assert folders(lake, "plate_store", "E-1") == [first.folder]
    lake.artifact("plate_store", "E-1").verify(first)


def test_a_shared_draft_finds_what_an_earlier_run_finished(lake):
    plan = plan_of(lake, 1, "E-1")
    with pytest.raises(ZeroDivisionError):
        begin(lake, plan, is_shared=True)
    with lake.draft(plan, is_shared=True) as draft:
        assert (draft.folder / "t.bin").read_bytes() == b"half"
        draft.publish(["t.bin"], Summary())


def killed(root, when):
    """A process that is killed after its files, or after its commit record, and before it notes it in the catalogue."""
    lake = Lake(UPath(root))

    def kill(*_args, **_named):
        os.kill(os.getpid(), signal.SIGKILL)

    if when == "before the commit":
        Artifact.commit = kill
    else:
        Catalogue.note = kill
    make(lake, Plan("plate_store", ("E-1",), {"value": 1}))


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
def test_a_killed_run_has_published_all_or_nothing_and_its_retry_sets_things_right(lake, when):
    lake.records()
    process = get_context("fork").Process(target=killed, args=(lake.root.path, when))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    plan = plan_of(lake, 1, "E-1")
    assert plan.replaces == 0  # the catalogue knows of nothing
    done = lake.find_done(plan)
    assert (done is None) == (when == "before the commit")
    record = done or make(lake, plan)
    lake.artifact("plate_store", "E-1").verify(record)
    assert lake.records().need("plate_store", "E-1").generation == record.generation == 1


def race(lake, values, barrier, queue, is_shared):
    """One process per value: makes it with its own bytes when all are ready, and says what came of it."""
    writer = os.getpid()
    plan = Plan("site_embeddings", ("E-1", "m.v1"), {"value": values}, replaces=0)
    barrier.wait()
    try:
        with lake.draft(plan, is_shared=is_shared) as draft:
            for name in ("part-0.bin", "part-1.bin"):
                try:
                    create_file(draft.folder / name, f"{writer} {name}".encode() * 50)
                except FileExistsError:
                    assert is_shared
            record = draft.publish(["part-0.bin", "part-1.bin"], Summary())
        queue.put(record.folder)
    except StaleArtifact:
        queue.put("stale")


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("values", [(1, 1, 1), (1, 2, 3)])
@pytest.mark.parametrize("place", ["local", "gs"])
def test_processes_that_publish_at_once_never_mix(request, tmp_path, place, values, is_shared):
    context = get_context("fork")
    root = UPath(tmp_path) if place == "local" else request.getfixturevalue("bucket")
    for number in range(N_ROUNDS if place == "local" else N_ROUNDS // 2):
        lake = Lake(root / str(number), f"sqlite:///{tmp_path}/{number}.db")
        barrier, queue = context.Barrier(len(values)), context.Queue()
        lake.records()
        processes = [context.Process(target=race, args=(lake, value, barrier, queue, is_shared)) for value in values]
        for process in processes:
            process.start()
        outcomes = [queue.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        published = lake.current("site_embeddings", "E-1", "m.v1")
        published.artifact.verify(published.record)
        n_stale = outcomes.count("stale")
        assert n_stale == len(set(values)) - 1
        assert set(outcomes) - {"stale"} == {published.record.folder}
        assert lake.records().need("site_embeddings", "E-1", "m.v1").plan_fingerprint == (
            published.record.plan_fingerprint
        )
        if not is_shared:
            assert names_in(lake.root / "data/site_embeddings/E-1/m.v1") == [published.record.folder]


# --- pinned publications ---


def test_a_pinned_publication_is_read_after_a_newer_one(lake):
    make(lake, plan_of(lake, 1, "E-1"), b"old")
    pinned = lake.records().need("plate_store", "E-1")
    make(lake, plan_of(lake, 2, "E-1"), b"new")
    assert lake.open(pinned).path("t.bin").read_bytes() == b"old"
    assert lake.current("plate_store", "E-1").path("t.bin").read_bytes() == b"new"


def test_a_pinned_publication_that_was_deleted_and_made_again_is_refused(lake):
    make(lake, plan_of(lake, 1, "E-1"))
    pinned = lake.records().need("plate_store", "E-1")
    Path(lake.artifact("plate_store", "E-1").record_path(1).path).unlink()
    with pytest.raises(ArtifactMissing, match="publication 1 is not there"):
        lake.open(pinned)
    lake.scan()
    make(lake, plan_of(lake, 2, "E-1"))
    with pytest.raises(StaleArtifact, match="deleted and made again meanwhile"):
        lake.open(pinned)


def test_going_back_to_earlier_inputs_is_a_new_publication(lake):
    assert [make(lake, plan_of(lake, value, "E-1")).generation for value in (1, 2, 1)] == [1, 2, 3]


# --- keys and paths ---


@pytest.mark.parametrize("key", ["../../etc", "..", "a/b", "", ".hidden", "a..b", "a|b", "a\nb", "/etc", "a\\b"])
def test_no_key_leaves_the_lake(lake, key):
    with pytest.raises(PartitionKeyError):
        lake.artifact("raw_plates", key)


@pytest.mark.parametrize("keys", [("000001.json",), ("000001.json", "000001.json"), ("1", "000002.json"), ("0", "1")])
def test_a_key_that_looks_like_a_record_is_a_key(lake, keys):
    kind = "benchmark/dose_response" if len(keys) == 2 else "raw_plates"
    record = make(lake, plan_of(lake, 1, *keys, kind=kind))
    assert lake.addresses() == {(kind, keys): 1}
    assert lake.current(kind, *keys).record == record


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "Plate1/../../x.png", "..\\x", "file:///etc", "a\x00b"])
def test_no_path_from_a_table_leaves_its_root(tmp_path, path):
    with pytest.raises(PartitionKeyError, match="leaves"):
        resolve_below(UPath(tmp_path), path)


def test_a_path_below_is_resolved(tmp_path):
    assert resolve_below(UPath(tmp_path), "Plate1/B02_s1_w1.png") == UPath(tmp_path) / "Plate1" / "B02_s1_w1.png"


# --- the catalogue, rebuilt and corrected ---


def test_addresses_are_read_from_the_records(lake):
    make(lake, plan_of(lake, 1, "E-1"))
    make(lake, plan_of(lake, 2, "E-1"))
    make(lake, plan_of(lake, 1, "HUVEC", "m.v1", kind="benchmark/dose_response"))
    make(lake, plan_of(lake, 1, kind="leaderboard"))
    (Path(lake.root.path) / "records" / "000001.json").write_text("belongs to nothing")
    assert lake.addresses() == {
        ("plate_store", ("E-1",)): 2,
        ("benchmark/dose_response", ("HUVEC", "m.v1")): 1,
        ("leaderboard", ()): 1,
    }


def test_a_catalogue_that_was_deleted_is_rebuilt(lake):
    for key in ("E-1", "E-2"):
        make(lake, plan_of(lake, 1, key))
    before = list(lake.records())
    for path in Path(lake.root.path).glob("catalogue.db*"):
        path.unlink()
    assert sorted(lake.records(), key=lambda row: row.keys) == sorted(before, key=lambda row: row.keys)


def test_a_scan_mends_what_was_missed_deleted_and_taken_back(lake, monkeypatch):
    for value in (1, 2):
        make(lake, plan_of(lake, value, "taken_back"))
    make(lake, plan_of(lake, 1, "deleted"))
    make(lake, plan_of(lake, 1, "untouched"))
    missed = plan_of(lake, 1, "missed")
    monkeypatch.setattr(Catalogue, "note", lambda *_args, **_named: None)  # as if killed between commit and note
    make(lake, missed)
    monkeypatch.undo()
    lake.artifact("plate_store", "taken_back").record_path(2).unlink()
    lake.artifact("plate_store", "deleted").record_path(1).unlink()
    scan = lake.scan()
    assert (scan.n_found, scan.n_noted, scan.n_forgotten) == (3, 2, 1)
    records = lake.records()
    assert {row.keys[0]: row.generation for row in records} == {"taken_back": 1, "missed": 1, "untouched": 1}
    again = lake.scan()
    assert (again.n_noted, again.n_forgotten) == (0, 0)


def test_a_scan_leaves_what_is_published_meanwhile(lake, monkeypatch):
    make(lake, plan_of(lake, 1, "old"))
    make(lake, plan_of(lake, 1, "deleted"))
    lake.artifact("plate_store", "deleted").record_path(1).unlink()
    plans = [
        plan_of(lake, 2, "old"),
        plan_of(lake, 1, "new"),
        Plan("plate_store", ("deleted",), {"value": 2}, replaces=1),
    ]
    listing = Lake.addresses

    def slow(self):
        found = listing(self)
        for plan in plans:
            make(lake, plan)
        return found

    monkeypatch.setattr(Lake, "addresses", slow)
    lake.scan()
    assert {row.keys[0]: row.generation for row in lake.records()} == {"old": 2, "new": 1, "deleted": 2}


def test_one_damaged_record_does_not_stop_a_scan(lake):
    make(lake, plan_of(lake, 1, "good"))
    make(lake, plan_of(lake, 1, "damaged"))
    lake.artifact("plate_store", "damaged").record_path(1).write_bytes(b'{"kind": "pla')
    bad_name = Path(lake.root.path) / "records" / "plate_store" / "bad name"
    bad_name.mkdir()
    (bad_name / "000001.json").write_text("{}")
    for path in Path(lake.root.path).glob("catalogue.db*"):
        path.unlink()
    scan = lake.scan()
    assert scan.n_noted == 1
    assert sorted("damaged" in reason for reason in scan.unreadable) == [False, True]
    assert [row.keys for row in lake.records()] == [("good",)]
    with pytest.raises(CorruptArtifact, match="delete it and materialise"):
        lake.find_done(plan_of(lake, 1, "damaged"))


def test_a_lake_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "raw_plates" / "E-1").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"earlier version of cellassets \(raw_plates at its root\).*mv "):
        Lake(UPath(tmp_path)).records()


def test_a_remote_lake_needs_a_database(tmp_path):
    with pytest.raises(ConfigError, match="CELLASSETS_CATALOGUE"):
        Lake(UPath(f"memory://{tmp_path.name}")).records()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x/y"])
def test_a_wrong_database_url_is_named(tmp_path, url):
    with pytest.raises(CellAssetsError, match=url):
        Lake(UPath(tmp_path), url).records()
