"""Superseded publications go, also killed half-way, twice at once, and beside writers and readers, on disk and `gs://`."""

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel
from upath import UPath

from cellassets.errors import ArtifactMissing, StorageRefused
from cellassets.storage import removal
from cellassets.storage.artifact import write_bytes
from cellassets.storage.lake import Lake, shared_folder
from cellassets.storage.plan import Plan
from cellassets.storage.removal import remove
from cellassets.storage.superseded import Needs, survey

N_KEYS = {"plate_store": 1, "site_embeddings": 2, "leaderboard": 0, "benchmark/a": 2}
OLD_S = 1_000_000.0


class Summary(BaseModel):
    """Summary of a test's artefact."""


@pytest.fixture(params=["local", "gs"])
def lake(request, tmp_path) -> Lake:
    root = UPath(tmp_path / "lake") if request.param == "local" else request.getfixturevalue("bucket") / "lake"
    return Lake(root, f"sqlite:///{tmp_path}/catalogue.db")


def plan_of(lake, value, *keys, kind="plate_store", **inputs) -> Plan:
    return Plan(kind, keys, {"value": value, **inputs}, replaces=lake.artifact(kind, *keys).generation())


def make(lake, plan, *, is_shared=False):
    with lake.draft(plan, is_shared=is_shared) as draft:
        write_bytes(draft.folder / "t.bin", str(plan.inputs["value"]).encode() * 100)
        return draft.publish(["t.bin"], Summary())


def all_files(lake):
    root = lake.root
    return sorted(path[len(root.path) + 1 :] for path in root.fs.find(root.path) if "catalogue" not in path)


def look(lake, *, before=None):
    """A survey in which everything that was written so far is old."""
    before = before or datetime.now(UTC) + timedelta(seconds=60)
    return survey(lake, N_KEYS, Needs(before, "young")), before


def free(lake, **options):
    found, before = look(lake, **options)
    return [piece for piece in found.pieces if not piece.reason], before


def test_superseded_publications_go_and_what_is_left_is_whole(lake):
    for value in (1, 2, 3):
        make(lake, plan_of(lake, value, "E-1"))
        make(lake, plan_of(lake, value, kind="leaderboard"))
        make(lake, plan_of(lake, value, "D", "m.v1", kind="benchmark/a"))
    pieces, before = free(lake)
    assert {(piece.kind, piece.keys, piece.generation) for piece in pieces} == {
        (kind, keys, n)
        for kind, keys in (("plate_store", ("E-1",)), ("leaderboard", ()), ("benchmark/a", ("D", "m.v1")))
        for n in (1, 2)
    }
    n_bytes = sum(lake.root.fs.info(f"{lake.root.path}/{name}")["size"] for name in all_files(lake))
    freed = sum(remove(lake, piece, before=before) for piece in pieces)
    left = sum(lake.root.fs.info(f"{lake.root.path}/{name}")["size"] for name in all_files(lake))
    assert freed == sum(piece.n_bytes for piece in pieces) == n_bytes - left
    assert len(all_files(lake)) == 6
    for (kind, keys), generation in lake.addresses().items():
        artifact = lake.artifact(kind, *keys)
        assert generation == 3
        artifact.verify(artifact.record_of(generation))
    assert free(lake)[0] == []
    make(lake, plan_of(lake, 4, "E-1"))
    assert lake.artifact("plate_store", "E-1").generations() == [3, 4], "numbers are never used again"


def test_an_input_of_an_input_stays(lake):
    store = make(lake, plan_of(lake, 1, "E-1"))
    table = make(lake, plan_of(lake, 1, "E-1", "m.v1", kind="site_embeddings", made_from={"E-1": [store.fingerprint]}))
    make(lake, plan_of(lake, 1, kind="leaderboard", scores={"a": table.fingerprint}))
    make(lake, plan_of(lake, 2, "E-1"))
    make(lake, plan_of(lake, 2, "E-1", "m.v1", kind="site_embeddings"))
    assert {piece.name: piece.reason for piece in look(lake)[0].pieces} == {
        "publication 1 of plate_store of E-1": "needed by site_embeddings of E-1|m.v1 (publication 1)",
        "publication 1 of site_embeddings of E-1|m.v1": "needed by leaderboard (publication 1)",
    }


def test_a_prune_that_is_killed_after_the_record_is_completed_by_the_next(lake, monkeypatch):
    make(lake, plan_of(lake, 1, "E-1"), is_shared=True)
    make(lake, plan_of(lake, 2, "E-1"), is_shared=True)
    (piece,), before = free(lake)

    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(removal, "_remove_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(lake, piece, before=before)
    monkeypatch.undo()
    assert lake.artifact("plate_store", "E-1").generations() == [2], "no record is left without its files"
    (rest,), before = free(lake)
    assert (rest.state, rest.folder) == ("unfinished", piece.folder)
    assert remove(lake, rest, before=before) == rest.n_bytes
    assert len(all_files(lake)) == 2


def test_two_prunes_at_once_remove_everything_once(lake):
    for value in range(6):
        make(lake, plan_of(lake, value, "E-1"))
    pieces, before = free(lake)
    freed, ready = [], threading.Barrier(2)

    def prune():
        ready.wait()
        freed.extend(remove(lake, piece, before=before) for piece in pieces)

    threads = [threading.Thread(target=prune) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(piece.n_bytes for piece in pieces) == sum(freed)
    artifact = lake.artifact("plate_store", "E-1")
    artifact.verify(artifact.record())
    assert len(all_files(lake)) == 2


def test_a_publication_whose_successor_was_removed_by_hand_is_current_again_and_stays(lake):
    make(lake, plan_of(lake, 1, "E-1"))
    make(lake, plan_of(lake, 2, "E-1"))
    (piece,), before = free(lake)
    artifact = lake.artifact("plate_store", "E-1")
    artifact.record_path(2).unlink()
    assert remove(lake, piece, before=before) == 0
    artifact.verify(artifact.record())


def test_a_run_that_makes_what_was_superseded_again_has_another_folder(lake):
    """Otherwise a prune would remove the shards that the run has found finished and is about to publish."""
    first = make(lake, plan_of(lake, 1, "E-1"), is_shared=True)
    make(lake, plan_of(lake, 2, "E-1"), is_shared=True)
    (piece,), before = free(lake)
    again = plan_of(lake, 1, "E-1")
    with lake.draft(again, is_shared=True) as draft:
        assert draft.folder.name != first.folder
        write_bytes(draft.folder / "t.bin", b"again")
        remove(lake, piece, before=before)
        record = draft.publish(["t.bin"], Summary())
    lake.artifact("plate_store", "E-1").verify(record)


def test_a_folder_that_an_earlier_version_shared_between_publications_stays_with_the_newer(lake, monkeypatch):
    monkeypatch.setattr("cellassets.storage.lake.shared_folder", lambda fingerprint, _generation: fingerprint)
    for value in (1, 2):
        make(lake, plan_of(lake, value, "E-1"), is_shared=True)
    with lake.draft(plan_of(lake, 1, "E-1"), is_shared=True) as draft:
        record = draft.publish(["t.bin"], Summary())
    pieces, before = free(lake)
    assert [piece.folder != "" for piece in pieces] == [False, True]
    for piece in pieces:
        remove(lake, piece, before=before)
    lake.artifact("plate_store", "E-1").verify(record)
    for value in (3, 4):
        make(lake, plan_of(lake, value, "E-1"))
    with lake.draft(plan_of(lake, 1, "E-1"), is_shared=True) as draft:
        draft.publish(["t.bin"], Summary())
    make(lake, plan_of(lake, 5, "E-1"))
    pieces, before = free(lake)
    assert sum(remove(lake, piece, before=before) for piece in pieces) == sum(piece.n_bytes for piece in pieces)
    assert len(all_files(lake)) == 2, "the folder goes with the newest of the publications that share it"


def test_a_folder_in_which_a_run_is_at_work_stays(lake):
    plan = plan_of(lake, 1, "E-1")
    folder = lake.artifact("plate_store", "E-1").data / shared_folder(plan.fingerprint, 1)
    write_bytes(folder / "a", b"finished long ago")
    (piece,), _ = free(lake)
    now = datetime.now(UTC) - timedelta(seconds=60)
    assert remove(lake, piece, before=now) == 0, "a file in it is younger"
    assert len(all_files(lake)) == 1
    make(lake, plan, is_shared=True)
    assert remove(lake, piece, before=datetime.now(UTC) + timedelta(seconds=60)) == 0, "it was published meanwhile"
    lake.artifact("plate_store", "E-1").verify(lake.artifact("plate_store", "E-1").record())


def test_a_reader_of_a_publication_that_was_removed_gets_an_error_that_says_so(lake):
    make(lake, plan_of(lake, 1, "E-1"))
    pinned = lake.records().need("plate_store", "E-1")
    opened = lake.open(pinned)
    make(lake, plan_of(lake, 2, "E-1"))
    (piece,), before = free(lake)
    remove(lake, piece, before=before)
    with pytest.raises(ArtifactMissing, match="the file of this publication is gone; materialise"):
        opened.file("t.bin").read_bytes()
    with pytest.raises(ArtifactMissing, match="publication 1 is not there"):
        lake.open(pinned)


def test_a_piece_that_something_needs_cannot_be_removed(lake):
    make(lake, plan_of(lake, 1, "E-1"))
    make(lake, plan_of(lake, 2, "E-1"))
    (piece,), before = free(lake)
    with pytest.raises(ValueError, match="stays \\(needed\\)"):
        remove(lake, replace(piece, reason="needed"), before=before)


# --- an object store ---


@pytest.fixture
def bucket_lake(bucket, tmp_path) -> Lake:
    return Lake(bucket / "lake", f"sqlite:///{tmp_path}/catalogue.db")


def test_every_delete_in_a_bucket_carries_the_generation_that_was_seen(bucket_lake, gcs):
    make(bucket_lake, plan_of(bucket_lake, 1, "E-1"))
    make(bucket_lake, plan_of(bucket_lake, 2, "E-1"))
    (piece,), before = free(bucket_lake)
    n_before = len(gcs.requests)
    remove(bucket_lake, piece, before=before)
    deletes = [request for request in gcs.requests[n_before:] if request.operation == "delete"]
    assert [request.name.rpartition("/")[2] for request in deletes] == ["000001.json", "t.bin"], "the record first"
    assert all(request.if_generation_match not in (None, "0") for request in deletes)


def test_an_object_that_was_written_again_meanwhile_stays(bucket_lake):
    path = bucket_lake.root / "a"
    write_bytes(path, b"first")
    seen = path.fs.info(path.path)["generation"]
    write_bytes(path, b"second")
    with pytest.raises(FileExistsError):
        path.fs.rm_file(path.path, generation=seen)
    assert path.read_bytes() == b"second"


def test_a_bucket_that_refuses_loses_nothing(bucket_lake, gcs):
    make(bucket_lake, plan_of(bucket_lake, 1, "E-1"))
    make(bucket_lake, plan_of(bucket_lake, 2, "E-1"))
    (piece,), before = free(bucket_lake)
    files = all_files(bucket_lake)
    gcs.fault = lambda operation, _name: 403 if operation == "delete" else None
    with pytest.raises(StorageRefused):
        remove(bucket_lake, piece, before=before)
    assert all_files(bucket_lake) == files


# --- a local disk ---


@pytest.fixture
def local_lake(tmp_path) -> Lake:
    return Lake(UPath(tmp_path / "lake"))


def age(lake):
    for place, _, names in os.walk(lake.root.path):
        for name in names:
            os.utime(f"{place}/{name}", (OLD_S, OLD_S))


def test_temporary_files_of_killed_processes_go_when_they_are_old(local_lake):
    record = make(local_lake, plan_of(local_lake, 1, "E-1"))
    artifact = local_lake.artifact("plate_store", "E-1")
    age(local_lake)
    left = [
        Path(artifact.records.path) / ".000002.json.abc12_x9",
        Path(artifact.folder(record).path) / ".t.bin.0a.abcdefgh",
    ]
    for path in left:
        path.write_bytes(b"half")
    before = datetime.now(UTC) - timedelta(days=2)
    assert {piece.reason for piece in survey(local_lake, N_KEYS, Needs(before, "young")).pieces} == {"young"}
    age(local_lake)
    pieces = survey(local_lake, N_KEYS, Needs(before, "young")).pieces
    assert {(piece.state, piece.name) for piece in pieces} == {("temporary", str(path)) for path in left}
    assert sum(remove(local_lake, piece, before=before) for piece in pieces) == 8
    artifact.verify(record)


def test_nothing_outside_the_lake_goes_whatever_a_record_or_a_link_says(local_lake, tmp_path):
    outside = tmp_path / "landing" / "HUVEC-1"
    outside.mkdir(parents=True)
    (outside / "image.png").write_bytes(b"pixels")
    make(local_lake, plan_of(local_lake, 1, "E-1"))
    make(local_lake, plan_of(local_lake, 2, "E-1"))
    artifact = local_lake.artifact("plate_store", "E-1")
    hostile = artifact.record_of(1).model_copy(update={"folder": "../../../../landing/HUVEC-1"})
    Path(artifact.record_path(1).path).write_text(hostile.model_dump_json())
    Path(artifact.data.path, "linked").symlink_to(outside)
    Path(local_lake.root.path, "data/plate_store/E-2").symlink_to(outside.parent)
    age(local_lake)
    pieces, before = free(local_lake)
    for piece in pieces:
        remove(local_lake, piece, before=before)
    assert (outside / "image.png").read_bytes() == b"pixels"
    artifact.verify(artifact.record())


def test_a_folder_of_records_that_cannot_be_listed_stops_the_prune(local_lake, monkeypatch):
    """Otherwise its data would look unfinished."""
    make(local_lake, plan_of(local_lake, 1, "E-1"))
    scandir = os.scandir

    def refuse(place):
        if str(place).endswith("records/plate_store/E-1"):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        look(local_lake)
