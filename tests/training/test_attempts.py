"""States of a training: the last complete one is used, a damaged one is skipped, and only the newest attempt writes."""

import os
from pathlib import Path
from threading import Barrier, Thread

import pytest
import torch
from upath import UPath

from cellassets.errors import CorruptArtifact, StaleArtifact
from cellassets.training.attempts import N_KEPT, Attempt, remove_attempts
from cellassets.training.packing import pack, unpack


@pytest.fixture(params=["local", "object store"])
def folder(tmp_path, request):
    """A local folder, and one of an fsspec file system that creates and replaces whole objects."""
    return UPath(tmp_path / "training") if request.param == "local" else UPath(f"memory://{tmp_path}/training")


def states(folder):
    return sorted(path.name for path in (folder / "states").iterdir())


def test_the_next_attempt_finds_the_last_state(folder):
    first = Attempt.begin(folder)
    assert first.last_state() is None
    for epoch in range(4):
        first.save(epoch, b"after epoch %d" % epoch)
    second = Attempt.begin(folder)
    assert (first.number, second.number) == (1, 2)
    assert second.last_state() == b"after epoch 3"
    assert len(states(folder)) == N_KEPT, "older states are removed"


@pytest.mark.parametrize("n_bytes_left", [0, 1, 12])
def test_a_truncated_state_is_named_and_removed_and_the_one_before_it_is_used(folder, caplog, n_bytes_left):
    first = Attempt.begin(folder)
    for epoch in range(2):
        first.save(epoch, b"after epoch %d" % epoch)
    newest = folder / "states" / states(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:n_bytes_left])
    second = Attempt.begin(folder)
    assert second.last_state() == b"after epoch 0"
    assert f"{newest.name}: damaged ({n_bytes_left} bytes), removed" in caplog.text
    assert len(states(folder)) == 1
    second.save(1, b"again")
    assert Attempt.begin(folder).last_state() == b"again"
    assert len(states(folder)) == N_KEPT, "the damaged state does not take the place of a whole one"


def test_without_a_whole_state_training_begins_at_the_start(folder):
    first = Attempt.begin(folder)
    for epoch in range(2):
        first.save(epoch, b"after epoch %d" % epoch)
    for name in states(folder):
        (folder / "states" / name).write_bytes(b"")
    second = Attempt.begin(folder)
    assert second.last_state() is None
    second.save(0, b"from the start")
    assert len(states(folder)) == 1, "the damaged ones are gone"


def test_a_state_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, Path.replace
    attempt = Attempt.begin(UPath(tmp_path / "training"))
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("fsync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (steps.append("rename"), replace(path, target)))
    attempt.save(0, b"state")
    assert steps == ["fsync", "rename", "fsync"], "the second one is that of the folder"


def test_an_attempt_that_was_replaced_writes_nothing_and_its_states_yield_to_newer_ones(folder):
    old = Attempt.begin(folder)
    old.save(0, b"old 0")
    new = Attempt.begin(folder)
    with pytest.raises(StaleArtifact, match="attempt 1 at the training, and attempt 2 has begun"):
        old.save(1, b"old 1")
    assert new.last_state() == b"old 0"
    new.save(1, b"new 1")
    attempt, _, checksum = states(folder)[0].split("-")
    late = folder / "states" / f"{attempt}-00009-{checksum}"
    late.write_bytes(b"old 0")  # as written by an old attempt that had checked just before the new one began
    assert Attempt.begin(folder).last_state() == b"new 1"


def test_the_end_of_the_training_stops_whoever_is_left(folder):
    attempt = Attempt.begin(folder)
    attempt.save(0, b"state")
    assert remove_attempts(folder)
    assert not folder.exists()
    with pytest.raises(StaleArtifact, match="another run finished it"):
        attempt.save(1, b"late")
    assert not remove_attempts(folder)


def test_of_attempts_that_begin_at_once_each_has_its_own_number(folder):
    barrier, found = Barrier(6), []

    def begin():
        barrier.wait()
        found.append(Attempt.begin(folder).number)

    threads = [Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4, 5, 6]


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    folder = UPath(tmp_path / "training")
    first = Attempt.begin(folder)
    first.save(0, b"state")
    temporary = folder / "states" / ".000001-00002-00000000.safetensors.abc.tmp"
    temporary.write_bytes(b"half")
    assert Attempt.begin(folder).last_state() == b"state"
    assert not temporary.exists()


def test_a_packed_state_comes_back_with_types_layout_and_every_bit():
    image_like = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {
        "weights": {"a": image_like, "b": image_like, "half": torch.randn(3).to(torch.bfloat16)},
        "state": {0: {"step": torch.tensor(7.0)}, 1: {}},
        "betas": (0.9, 0.1 + 0.2),
        "list": [None, True, 3, "text", float("inf")],
    }
    found = unpack(pack(state))
    assert {k: found[k] for k in ("betas", "list")} == {k: state[k] for k in ("betas", "list")}
    assert isinstance(found["betas"], tuple)
    assert list(found["state"]) == [0, 1]
    for name, tensor in state["weights"].items():
        restored = found["weights"][name]
        assert (restored.dtype, restored.stride()) == (tensor.dtype, tensor.stride())
        assert torch.equal(restored, tensor)
    assert found["state"][0]["step"].item() == 7.0


def test_what_is_not_a_packed_state_is_refused_and_never_unpickled():
    import pickle

    for content in (b"", b"text", pickle.dumps({"a": 1}), pack({"a": torch.ones(2)})[:-3]):
        with pytest.raises(CorruptArtifact, match="not the state of a training"):
            unpack(content)
