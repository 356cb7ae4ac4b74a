"""The client of object stores: what it asks for, what it checks, and how it gets over a store that fails."""

import pickle
import threading
import time
from multiprocessing import get_context

import numpy as np
import pytest
from upath import UPath

from cellassets.errors import ConfigError, CorruptArtifact, StorageRefused
from cellassets.storage import objects
from cellassets.storage.artifact import create_file, describe_file, write_bytes, write_files

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of answers that are not used
CONTENT = np.random.default_rng(0).bytes(100_003)
LARGE = np.random.default_rng(1).bytes(objects.UPLOAD_CHUNK_BYTES + 9_000_001)


@pytest.fixture
def asked(gcs):
    """Returns the operations that a call sends, in their order."""

    def asked(function, *arguments):
        before = len(gcs.requests)
        function(*arguments)
        return [request.operation for request in gcs.requests[before:]]

    return asked


@pytest.fixture
def fail(gcs):
    """Makes the next requests fail: `fail(503, times=2)`."""

    def fail(status, *, times=10**9, operation=None):
        left = [times]

        def fault(found, _name):
            if left[0] < 1 or operation not in (None, found):
                return None
            left[0] -= 1
            return status

        gcs.fault = fault
        return left

    return fail


@pytest.fixture
def impatient(monkeypatch):
    """Pauses are a tenth of what they are otherwise."""
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.05)


# --- requests ---


def test_reading_and_writing_a_file_is_one_request_each(bucket, asked):
    assert asked(write_bytes, bucket / "a/x", CONTENT) == ["insert"]
    assert asked((bucket / "a/x").read_bytes) == ["media"]
    assert asked(describe_file, bucket / "a/x", "x") == ["get"]
    assert (bucket / "a/x").read_bytes() == CONTENT


def test_a_large_file_is_sent_in_chunks_and_read_as_one(bucket, asked):
    assert asked(write_bytes, bucket / "x", LARGE) == ["insert", "chunk", "chunk"]
    assert asked((bucket / "x").read_bytes) == ["media"]
    assert (bucket / "x").read_bytes() == LARGE


def test_a_listing_is_one_request(bucket, asked):
    write_files(bucket / "lake", {f"{folder}/{name}": b"1" for folder in "ab" for name in "xy"})
    fs, path = bucket.fs, (bucket / "lake").path
    assert asked(fs.ls, path) == asked(fs.find, path) == ["list"]
    assert [entry["type"] for entry in fs.ls(path)] == ["directory", "directory"]
    assert fs.find(path) == [f"{path}/{folder}/{name}" for folder in "ab" for name in "xy"]
    assert sorted(child.name for child in (bucket / "lake").glob("a/*")) == ["x", "y"]


def test_neighbouring_ranges_are_read_together_and_distant_ones_apart(gcs, bucket):
    write_bytes(bucket / "x", LARGE)
    starts = [5, 1005, 20_000_000]
    ends = [1005, 1500, 20_000_010]
    path = (bucket / "x").path
    before = len(gcs.requests)
    assert bucket.fs.cat_ranges([path] * 3, starts, ends) == [LARGE[a:b] for a, b in zip(starts, ends, strict=True)]
    assert sorted(request.range for request in gcs.requests[before:]) == ["bytes=20000000-20000009", "bytes=5-1499"]


def test_a_range_after_the_end_of_a_file_is_named(gcs, bucket):
    write_bytes(bucket / "x", CONTENT)
    gcs.fault = lambda operation, _name: 416 if operation == "media" else None  # the emulator answers with no bytes
    with pytest.raises(CorruptArtifact, match=r"gs://.*/x: shorter than expected"):
        bucket.fs.cat_ranges([(bucket / "x").path], [len(CONTENT)], [len(CONTENT) + 10])


def test_empty_files_missing_files_and_folders(bucket):
    (bucket / "a/empty").write_bytes(b"")
    assert (bucket / "a/empty").read_bytes() == b""
    assert ((bucket / "a").is_dir(), (bucket / "a").is_file(), (bucket / "a").exists()) == (True, False, True)
    assert ((bucket / "b").is_dir(), (bucket / "b").is_file(), (bucket / "b").exists()) == (False, False, False)
    with pytest.raises(FileNotFoundError, match=r"gs://.*/b"):
        (bucket / "b").read_bytes()
    (bucket / "a/empty").unlink()
    assert not (bucket / "a").exists()


def test_a_file_whose_block_fails_is_not_written(bucket):
    with pytest.raises(ZeroDivisionError), (bucket / "x").open("wb") as stream:
        stream.write(bytes([1 // 0]))
    assert not (bucket / "x").exists()


# --- checksums ---


def test_every_upload_carries_its_checksum(gcs, bucket):
    before = len(gcs.requests)
    write_bytes(bucket / "small", CONTENT)
    write_bytes(bucket / "large", LARGE)
    sent = gcs.requests[before:]
    assert [request.operation for request in sent] == ["insert", "insert", "chunk", "chunk"]
    assert sent[0].has_checksum
    assert sent[-1].has_checksum


def test_a_file_that_arrives_damaged_is_refused(gcs, bucket):
    write_bytes(bucket / "x", CONTENT)
    gcs.storage._store._files[(bucket / "x").path] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(ConnectionError, match="differ from the checksum of the server"):
        (bucket / "x").read_bytes()


# --- two writers, and answers that are lost ---


def test_of_two_writers_at_once_one_creates_the_file(gcs, bucket):
    before = len(gcs.requests)
    for number in range(20):
        barrier, outcomes = threading.Barrier(2), []

        def write(content, number=number, barrier=barrier, outcomes=outcomes):
            barrier.wait()
            try:
                create_file(bucket / str(number), content)
            except FileExistsError:
                return
            outcomes.append(content)

        threads = [threading.Thread(target=write, args=(content,)) for content in (b"a", b"b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [(bucket / str(number)).read_bytes()]
    inserts = [request for request in gcs.requests[before:] if request.operation == "insert"]
    assert {request.if_generation_match for request in inserts} == {"0"}
    assert sorted({request.status for request in inserts}) == [200, 412]


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["one request", "chunks"])
def test_a_lost_answer_is_not_taken_for_another_writer(gcs, bucket, fail, content):
    left = fail(gcs.LOST, times=1, operation="insert" if content is CONTENT else "chunk")
    create_file(bucket / "x", content)
    assert left == [0]
    assert (bucket / "x").read_bytes() == content
    with pytest.raises(FileExistsError):
        create_file(bucket / "x", content[:-1])


# --- a store that fails ---


@pytest.mark.parametrize("status", [408, 429, 500, 503, "CUT"])
@pytest.mark.usefixtures("impatient")
def test_a_transient_fault_passes(gcs, bucket, fail, status):
    code = getattr(gcs, str(status), status)
    for work in (
        lambda: write_bytes(bucket / "a/x", CONTENT),
        lambda: create_file(bucket / f"a/{status}", CONTENT),
        (bucket / "a/x").read_bytes,
        lambda: bucket.fs.ls((bucket / "a").path),
        lambda: describe_file(bucket / "a/x", "x"),
        lambda: bucket.fs.cat_ranges([(bucket / "a/x").path], [10], [20]),
        (bucket / "a/x").unlink,
    ):
        left = fail(code, times=2)
        work()
        assert left == [0]


def test_an_outage_passes_without_a_lost_or_a_doubled_file(bucket, fail):
    fail(503)
    timer = threading.Timer(4.0, lambda: fail(503, times=0))
    timer.start()
    started = time.monotonic()
    write_files(bucket, {f"{number}": bytes([number]) for number in range(8)})
    assert time.monotonic() - started > 3
    assert [(bucket / f"{number}").read_bytes() for number in range(8)] == [bytes([number]) for number in range(8)]
    assert len(bucket.fs.find(bucket.path)) == 8
    timer.join()


def test_the_pauses_add_up_to_more_than_a_minute():
    assert objects.GIVE_UP_AFTER_S >= 120
    assert objects._retry()._timeout == objects.GIVE_UP_AFTER_S
    assert objects._retry()._maximum == objects.LONGEST_PAUSE_S


@pytest.mark.usefixtures("impatient")
def test_a_store_that_never_answers_is_named_in_time(bucket, fail, monkeypatch):
    monkeypatch.setattr(objects, "GIVE_UP_AFTER_S", 1.0)
    fail(503)
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=r"gs://.*/x: no usable answer within 1 s"):
        write_bytes(bucket / "x", CONTENT)
    with pytest.raises(ConnectionError, match="no usable answer"):
        (bucket / "x").exists()
    assert time.monotonic() - started < 10


def test_a_refusal_names_the_role_and_is_not_repeated(gcs, bucket, fail):
    write_bytes(bucket / "x", CONTENT)
    fail(403)
    for work in ((bucket / "x").read_bytes, lambda: write_bytes(bucket / "y", b"1"), lambda: bucket.fs.ls(bucket.path)):
        with pytest.raises(StorageRefused, match="Storage Object User"):
            work()
    assert [request.status for request in gcs.requests[-4:]] == [200, 403, 403, 403]


@pytest.mark.usefixtures("gcs")
def test_a_bucket_that_does_not_exist_is_named():
    nowhere = UPath("gs://no-such-bucket/lake")
    for work in (nowhere.exists, lambda: write_bytes(nowhere / "x", b"1"), lambda: list(nowhere.iterdir())):
        with pytest.raises(ConfigError, match="gs://no-such-bucket: there is no such bucket"):
            work()


def test_missing_credentials_are_named(monkeypatch, tmp_path):
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    objects._client.cache_clear()
    with pytest.raises(ConfigError, match="no credentials for Google Cloud Storage"):
        UPath("gs://bucket/x").read_bytes()
    objects._client.cache_clear()


# --- processes ---


def read_in(path, queue):
    queue.put(path.read_bytes())


def test_a_forked_process_opens_connections_of_its_own(bucket):
    write_bytes(bucket / "x", CONTENT)
    queue = get_context("fork").Queue()
    process = get_context("fork").Process(target=read_in, args=(bucket / "x", queue))
    process.start()
    assert queue.get(timeout=30) == CONTENT
    process.join()
    assert process.exitcode == 0
    assert (bucket / "x").read_bytes() == CONTENT


def test_a_path_that_was_sent_to_another_process_has_the_same_client(bucket):
    assert type(pickle.loads(pickle.dumps(bucket)).fs) is objects.ObjectStore  # noqa: S301
