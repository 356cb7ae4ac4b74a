"""Artefacts are published as a whole or not at all, and a publication never changes."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from cellassets.errors import ArtifactMissing, CorruptArtifact, StaleArtifact
from cellassets.storage import artifact as artifact_module
from cellassets.storage.artifact import (
    Artifact,
    FileEntry,
    Record,
    atomic_write,
    create_file,
    describe_file,
    write_bytes,
)

N_ROUNDS = 50


@pytest.fixture(params=["local", "memory", "gs"])
def root(request, tmp_path) -> UPath:
    if request.param == "gs":
        return request.getfixturevalue("bucket") / "lake"
    if request.param == "memory":
        request.getfixturevalue("one_creator_at_a_time")
        return UPath(f"memory://{tmp_path.name}/lake")
    return UPath(tmp_path / "lake")


@pytest.fixture
def one_creator_at_a_time(monkeypatch):
    """Makes fsspec's memory create objects in one step, as object stores do; it looks first, then writes."""
    lock, create = Lock(), MemoryFileSystem.pipe_file

    def pipe_file(self, *args, **kwargs):
        with lock:
            create(self, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)


@pytest.fixture
def place(root) -> Artifact:
    return Artifact("scores", ("HUVEC",), root / "records" / "scores" / "HUVEC", root / "data" / "scores" / "HUVEC")


def record_of(entry: FileEntry, *, generation=1, plan="plan-a", folder="folder-a") -> Record:
    return Record(
        kind="scores",
        keys=("HUVEC",),
        plan_fingerprint=plan,
        fingerprint=plan,
        generation=generation,
        folder=folder,
        inputs={"map": "abc"},
        files=(entry,),
        summary={"n_rows": 1},
    )


def publish(place, content=b"123456789", **options) -> Record:
    folder = options.get("folder", "folder-a")
    write_bytes(place.data / folder / "t.bin", content)
    return place.commit(record_of(describe_file(place.data / folder / "t.bin", "t.bin"), **options))


def test_files_without_a_commit_record_are_not_there(place):
    write_bytes(place.data / "folder-a" / "t.bin", b"whole")  # the process was killed between this and the commit
    assert place.find_record() is None
    assert place.generation() == 0
    with pytest.raises(ArtifactMissing, match="scores of HUVEC: nothing is published"):
        place.record()


def test_a_published_file_is_found_and_carries_its_checksum(place):
    record = publish(place)
    assert place.record() == record
    assert place.path("t.bin", record).read_bytes() == b"123456789"
    assert record.files[0].crc32c == 0xE3069283  # check value of CRC-32C in RFC 3720, appendix B.4
    assert record.files[0].n_bytes == 9


def test_a_file_that_does_not_belong_to_it_is_named(place):
    record = publish(place)
    with pytest.raises(ArtifactMissing, match=r"no file 'other.bin' in publication 1.*t.bin"):
        place.path("other.bin", record)


def test_the_record_with_the_highest_number_is_the_current_one(place):
    for generation in range(1, 12):  # 10 and 11 come after 9, not after 1
        publish(place, generation=generation, plan=f"plan-{generation}")
    assert place.record().generation == 11


def test_an_earlier_publication_stays_readable(place):
    first = publish(place)
    publish(place, b"newer", generation=2, plan="plan-b", folder="folder-b")
    assert place.record_of(1) == first
    assert place.path("t.bin", place.record_of(1)).read_bytes() == b"123456789"
    place.verify(first)


def test_a_flipped_byte_is_found(place):
    record = publish(place)
    (place.folder(record) / "t.bin").write_bytes(b"123456780")
    with pytest.raises(CorruptArtifact, match=r"t\.bin: 9 bytes"):
        place.verify(record)


def test_a_flipped_byte_is_found_by_whoever_reads_the_file(place):
    record = publish(place)
    assert place.file("t.bin", record).read_bytes() == b"123456789"
    (place.folder(record) / "t.bin").write_bytes(b"123456780")
    with pytest.raises(CorruptArtifact, match=r"t\.bin: 9 bytes with CRC32C .* recorded 9"):
        place.file("t.bin", record).read_bytes()


def test_a_lost_file_is_found(place):
    record = publish(place)
    (place.folder(record) / "t.bin").unlink()
    with pytest.raises(CorruptArtifact, match=r"t\.bin: the file is listed"):
        place.verify(record)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_commit_record_is_named(place, share):
    publish(place)
    path = place.record_path(1)
    text = path.read_bytes()
    path.write_bytes(text[: int(len(text) * share)])
    with pytest.raises(CorruptArtifact, match=r"000001\.json: not a commit record; delete it"):
        place.find_record()


def test_other_files_beside_the_records_are_passed_over(place):
    publish(place)
    for name in ("notes.json", ".000007.json.x8f3", "000008.json.bak", "²3.json", "000009"):
        (place.records / name).write_bytes(b"{}")
    assert place.generation() == 1


def test_committing_the_same_plan_twice_gives_the_first_record(place):
    first = publish(place)
    assert publish(place, b"other bytes", folder="folder-b") == first
    place.verify(place.record())


def test_committing_another_plan_under_a_taken_number_is_refused(place):
    first = publish(place)
    with pytest.raises(
        StaleArtifact, match=r"another run published plan-a \(publication 1\) while this one made plan-b"
    ):
        publish(place, b"other bytes", plan="plan-b", folder="folder-b")
    assert place.record() == first
    place.verify(first)


def test_of_two_writers_at_once_one_wins_and_nothing_is_mixed(root):
    """Both plans differ in half of the rounds: then one gets an error; otherwise both get the same record."""
    for number in range(N_ROUNDS):
        place = Artifact("scores", (str(number),), root / f"records/{number}", root / f"data/{number}")
        plans = ["plan-a", "plan-a" if number % 2 else "plan-b"]
        barrier = Barrier(2)

        def write(writer, place=place, plans=plans, barrier=barrier):
            folder = f"folder-{writer}"
            write_bytes(place.data / folder / "t.bin", f"bytes of {writer}".encode())
            record = record_of(describe_file(place.data / folder / "t.bin", "t.bin"), plan=plans[writer], folder=folder)
            barrier.wait()
            try:
                return place.commit(record)
            except StaleArtifact as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(write, range(2)))
        record = place.record()
        place.verify(record)
        if plans[0] == plans[1]:
            assert outcomes == [record, record]
        else:
            assert sum(outcome == record for outcome in outcomes) == 1
            assert sum(isinstance(outcome, StaleArtifact) for outcome in outcomes) == 1


def test_a_file_is_created_once(root):
    create_file(root / "a" / "x.json", b"first")
    with pytest.raises(FileExistsError):
        create_file(root / "a" / "x.json", b"second")
    assert (root / "a" / "x.json").read_bytes() == b"first"


def test_describing_a_file_that_was_not_written_is_refused(root):
    with pytest.raises(CorruptArtifact, match=r"t\.bin"):
        describe_file(root / "t.bin", "t.bin")


def test_an_error_inside_the_block_leaves_the_old_content_and_no_trace(tmp_path):
    path = UPath(tmp_path / "x.bin")
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(bytes([1 // 0]))
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["x.bin"]


def full_disk(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("write", [write_bytes, create_file])
def test_a_full_disk_leaves_no_trace(tmp_path, monkeypatch, write):
    monkeypatch.setattr(artifact_module.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(UPath(tmp_path / "x.bin"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_content(tmp_path, monkeypatch):
    path = UPath(tmp_path / "x.bin")
    write_bytes(path, b"old")
    monkeypatch.setattr(artifact_module.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["x.bin"]


def test_a_large_file_is_described_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact_module, "READ_BLOCK_BYTES", 4)
    (tmp_path / "x").write_bytes(b"123456789")
    assert describe_file(UPath(tmp_path / "x"), "x").crc32c == 0xE3069283
