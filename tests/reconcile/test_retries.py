"""When work is asked for again whose runs failed."""

import errno

import pytest

from cellassets.errors import (
    ArtifactMissing,
    CorruptArtifact,
    ImageError,
    LayoutError,
    OutOfMemory,
    RegistryError,
    StaleArtifact,
    TrainingError,
    is_refusal,
)
from cellassets.reconcile.retries import Attempt, verdict
from cellassets.stages.settings import RetryPolicy

POLICY = RetryPolicy(max_attempts=4, first_delay_minutes=1, factor=3)


def attempts(n, **of_last):
    """Attempts that ended one hour after the other."""
    found = [Attempt(f"run {number}", 3600.0 * number) for number in range(n)]
    return [*found[:-1], Attempt(found[-1].run_id, found[-1].ended_s, **of_last)] if found else []


def found(n, *, after_s, is_refused=False, **of_last):
    now_s = 3600.0 * (n - 1) + after_s
    return verdict(attempts(n, **of_last), POLICY, is_refused=is_refused, now_s=now_s)


def test_new_work_is_ready():
    assert found(0, after_s=0).outcome == "ready"


@pytest.mark.parametrize(("n", "delay_s"), [(1, 60), (2, 180), (3, 540)])
def test_each_delay_is_longer_by_the_factor(n, delay_s):
    waiting = found(n, after_s=delay_s - 1)
    assert (waiting.outcome, waiting.n_attempts, waiting.wait_s) == ("waiting", n, 1)
    assert found(n, after_s=delay_s).outcome == "ready"


def test_after_the_last_attempt_it_has_failed():
    last = found(4, after_s=1e6)
    assert last.outcome == "failed"
    assert last.is_final


def test_refused_data_is_final_at_once():
    assert found(1, after_s=1e6, is_refused=True).outcome == "refused"


def test_pardoned_attempts_do_not_count():
    assert found(1, after_s=0, is_refused=True, is_pardoned=True).outcome == "ready"


def test_what_dagster_restarts_is_left_to_it():
    assert found(1, after_s=1e6, is_restarting=True).outcome == "restarting"


def test_a_clock_that_was_set_back_ends_the_delay():
    assert found(1, after_s=-7200).outcome == "ready"


def caused_by(error, cause):
    error.__cause__ = cause
    return error


class OperationalError(Exception):
    """Has the name that every database driver gives to a locked database or a closed connection."""


@pytest.mark.parametrize(
    "error",
    [
        LayoutError("no metadata"),
        ImageError("truncated"),
        CorruptArtifact("another checksum"),
        TrainingError("loss not finite"),
        caused_by(ImageError("missing"), FileNotFoundError(errno.ENOENT, "no such file")),
        caused_by(OutOfMemory("4 GiB are too little"), MemoryError()),
        caused_by(OutOfMemory("4 GiB are too little"), OSError(errno.ENOMEM, "cannot allocate memory")),
    ],
)
def test_data_that_would_be_refused_again(error):
    assert is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "no space"),
        ValueError("a defect of the program"),
        StaleArtifact("another run published"),
        ArtifactMissing("not published yet"),
        RegistryError("does not answer"),
        caused_by(CorruptArtifact("x"), OSError(errno.EIO, "input/output error")),
        caused_by(ImageError("x"), caused_by(ValueError("y"), ConnectionResetError())),
        caused_by(TrainingError("x"), OperationalError("database is locked")),
    ],
)
def test_causes_that_pass(error):
    assert not is_refusal(error)
