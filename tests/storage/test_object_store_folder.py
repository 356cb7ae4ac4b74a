"""The test server of object storage with its objects in a folder: what it has confirmed outlives its end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

SCRIPT = Path(__file__).parents[2] / "scripts" / "object_store.py"
RESUMABLE = 9 << 20  # bytes of a file that the client sends in an upload of several requests


@pytest.fixture
def serve(tmp_path):
    """Starts the server on one folder, and kills an earlier one as a crash would: `bucket = serve()`."""
    running = []

    def stop():
        while running:
            process, client = running.pop()
            client.close()
            process.send_signal(signal.SIGKILL)
            process.communicate()

    def start():
        stop()
        command = [sys.executable, str(SCRIPT), "--port", "0", "--folder", str(tmp_path / "kept"), "--bucket", "b"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        url = process.stdout.readline().strip()
        client = storage.Client(
            project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )
        running.append((process, client))
        return client.bucket("b")

    yield start
    stop()


def test_objects_outlive_a_crash_with_their_metadata(serve):
    bucket = serve()
    bucket.blob("a").upload_from_string(b"first")
    bucket.blob("a").upload_from_string(b"second")
    bucket.blob("a/b").upload_from_string(b"below a name that is an object, too")
    bucket.blob("large").upload_from_string(bytes(RESUMABLE))
    bucket.blob("gone").upload_from_string(b"x")
    bucket.blob("gone").delete()
    before = {blob.name: (blob.generation, blob.crc32c, blob.size) for blob in bucket.list_blobs()}
    assert before.keys() == {"a", "a/b", "large"}
    bucket = serve()
    assert {blob.name: (blob.generation, blob.crc32c, blob.size) for blob in bucket.list_blobs()} == before
    assert bucket.blob("a").download_as_bytes() == b"second"
    assert bucket.blob("large").download_as_bytes() == bytes(RESUMABLE)
    with pytest.raises(NotFound):
        bucket.blob("gone").download_as_bytes()


def test_preconditions_hold_over_a_restart(serve):
    serve().blob("record").upload_from_string(b"first", if_generation_match=0)
    bucket = serve()
    with pytest.raises(PreconditionFailed):
        bucket.blob("record").upload_from_string(b"second", if_generation_match=0)
    kept = bucket.get_blob("record")
    bucket.blob("record").upload_from_string(b"third", if_generation_match=kept.generation)
    assert bucket.blob("record").download_as_bytes() == b"third"
