"""Artefacts are published whole or not at all."""

import errno
import os

import pytest
from upath import UPath

from cellassets.errors import ArtifactMissing, CorruptArtifact, StaleArtifact
from cellassets.storage import artifact as artifact_module
from cellassets.storage.artifact import Artifact, Plan, atomic_write, describe_file, write_bytes

PLAN = Plan("scores", {"map": "abc", "n_permutations": 10})


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    if request.param == "local":
        return Artifact(UPath(tmp_path / "a"))
    return Artifact(UPath(f"memory://{tmp_path.name}/a"))


def publish(place, plan=PLAN, content=b"123456789"):
    write_bytes(place.folder(plan.fingerprint) / "t.bin", content)
    return place.publish(plan, ["t.bin"], {"n_rows": 1})


def test_what_is_not_published_is_not_there(place):
    write_bytes(place.folder(PLAN.fingerprint) / "t.bin", b"half")
    assert place.find_record() is None
    assert not place.is_done(PLAN)
    with pytest.raises(ArtifactMissing, match="materialise"):
        place.record()


def test_a_published_file_is_found_and_carries_its_checksum(place):
    record = publish(place)
    assert place.is_done(PLAN)
    assert place.path("t.bin").read_bytes() == b"123456789"
    assert record.files[0].crc32c == 0xE3069283  # check value of CRC-32C in RFC 3720, appendix B.4
    assert record.files[0].n_bytes == 9


def test_a_file_that_is_not_part_of_it_is_named(place):
    publish(place)
    with pytest.raises(ArtifactMissing, match=r"no file 'other.bin'.*t.bin"):
        place.path("other.bin")


def test_other_inputs_make_it_stale_and_the_error_names_both_fingerprints(place):
    publish(place)
    other = Plan("scores", {"map": "xyz", "n_permutations": 10})
    with pytest.raises(StaleArtifact, match=rf"{PLAN.fingerprint}.*{other.fingerprint}"):
        place.record(other.fingerprint)


def test_going_back_to_earlier_inputs_is_a_new_generation(place):
    other = Plan("scores", {"map": "xyz"})
    generations = [publish(place, plan).generation for plan in (PLAN, other, PLAN)]
    assert generations == [1, 2, 3]


def test_a_flipped_byte_is_found(place):
    record = publish(place)
    (place.folder(record.fingerprint) / "t.bin").write_bytes(b"123456780")
    with pytest.raises(CorruptArtifact, match=r"t\.bin: 9 bytes"):
        place.verify()


def test_a_record_that_is_no_record_is_named(place):
    write_bytes(place.root / "record.json", b"{}")
    with pytest.raises(CorruptArtifact, match=r"record\.json"):
        place.find_record()


def test_publishing_a_file_that_was_not_written_is_refused(place):
    with pytest.raises(CorruptArtifact, match=r"t\.bin"):
        place.publish(PLAN, ["t.bin"], {})
    assert place.find_record() is None


def test_an_error_inside_the_block_leaves_the_old_content_and_no_trace(tmp_path):
    path = UPath(tmp_path / "x.bin")
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(bytes([1 // 0]))
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["x.bin"]


def test_a_full_disk_leaves_the_old_content(tmp_path, monkeypatch):
    path = UPath(tmp_path / "x.bin")
    write_bytes(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifact_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["x.bin"]


def test_a_large_file_is_described_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(artifact_module, "READ_BLOCK_BYTES", 4)
    (tmp_path / "x").write_bytes(b"123456789")
    assert describe_file(UPath(tmp_path / "x"), "x").crc32c == 0xE3069283
