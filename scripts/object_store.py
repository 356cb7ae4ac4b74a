"""A server of the Google Cloud Storage protocol on loopback, for tests, benchmarks and a stack without a cloud.

It is `gcp-storage-emulator` behind a layer that does what the emulator leaves out: preconditions on generations (412),
objects in a folder that outlive a crash, errors where the bucket does not exist, parallel connections that stay open, a
count of all requests, and faults on demand. As a program it serves until it is stopped:

    python scripts/object_store.py --port 4443 --folder FOLDER --bucket NAME
"""

import argparse
import io
import json
import logging
import socket
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler, Router, _read_raw_data
from gcp_storage_emulator.storage import RESUMABLE_DIR, Storage

MESSAGES = {
    403: "does not have storage.objects access",
    412: "conditionNotMet",
    404: "The specified bucket does not exist",
}
CUT = -1  # the fault of a connection that ends without an answer
LOST = -2  # the fault of an answer that never arrives, to a request that was carried out


class KeptStorage(Storage):
    """The emulator's objects in a database file, each written in one transaction.

    A server that is killed loses nothing that it has confirmed, and half an object never appears. The emulator's own
    folder gives neither: it rewrites one file with the metadata of all objects at every change. Uploads in progress are
    in memory, as in the emulator, and objects that are deleted are gone.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(use_memory_fs=True)
        self._database = sqlite3.connect(path, check_same_thread=False)  # requests are carried out one after another
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS objects "
            "(bucket TEXT, name TEXT, described TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (bucket, name))"
        )
        for bucket, name, described in self._database.execute("SELECT bucket, name, described FROM objects"):
            self.objects.setdefault(bucket, {})[name] = json.loads(described)

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: dict[str, Any], file_id: str | None = None
    ) -> None:
        """Writes an object over an earlier one of this name, and ends its upload."""
        if bucket_name not in self.buckets:
            raise NotFound
        self._execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
            (bucket_name, file_name, json.dumps(file_obj), content),
        )
        self.objects.setdefault(bucket_name, {})[file_name] = file_obj
        if file_id:
            self.delete_resumable_file_obj(file_id)
            self._delete_file(RESUMABLE_DIR, self.safe_id(file_id))

    def get_file(self, bucket_name: str, file_name: str, show_error: bool = True) -> bytes:
        """Returns the content of an object, or what has arrived of an upload."""
        if bucket_name == RESUMABLE_DIR:
            return bytes(super().get_file(bucket_name, file_name, show_error))
        place = "SELECT content FROM objects WHERE bucket = ? AND name = ?"
        found = self._database.execute(place, (bucket_name, file_name)).fetchone()
        if found is None:
            raise NotFound
        return bytes(found[0])

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        """Removes an object."""
        if file_name not in self.objects.get(bucket_name, {}):
            raise NotFound
        self._execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket_name, file_name))
        del self.objects[bucket_name][file_name]

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._database:
            self._database.execute(statement, values)

    def _write_config_to_file(self) -> None:
        """Every change is in the database already."""


@dataclass(frozen=True)
class Request:
    """One request: operation (`insert`, `get`, `media`, `list`, `delete`, ...), object, preconditions and bytes."""

    operation: str
    name: str
    if_generation_match: str | None
    range: str | None
    has_checksum: bool
    status: int

    @property
    def price_class(self) -> str:
        """`A` for what writes or lists, `B` for what reads, `free` for what deletes or continues an upload.

        Source: Google Cloud Storage pricing, operation charges of the JSON API.
        """
        return {"insert": "A", "list": "A", "get": "B", "media": "B"}.get(self.operation, "free")


@dataclass
class ObjectServer:
    """A running server.

    Attributes:
        url: its address, for `STORAGE_EMULATOR_HOST`.
        storage: the emulator's objects.
        requests: all requests since the start.
        fault: called with operation and name before a request is carried out; returns the status that it is answered
            with instead, `CUT`, `LOST`, or None for no fault.
    """

    url: str
    storage: Storage
    requests: list[Request] = field(default_factory=list)
    fault: Callable[[str, str], int | None] = lambda _operation, _name: None
    lock: threading.RLock = field(default_factory=threading.RLock)
    preconditions: dict[str, str] = field(default_factory=dict)
    lost_answers: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def make_bucket(self, name: str) -> str:
        """Returns the URL of a new bucket."""
        with self.lock:
            create_bucket(name, self.storage)
        return f"gs://{name}"

    def copy_bucket(self, source: str, target: str) -> None:
        """Copies all objects of a bucket to another bucket, without requests."""
        with self.lock:
            for name, described in self.storage.objects.get(source, {}).items():
                content = self.storage.get_file(source, name)
                self.storage.create_file(target, name, content, {**described, "bucket": target})

    def counts(self, since: int = 0) -> Counter[str]:
        """Returns the number of requests by operation."""
        return Counter(request.operation for request in self.requests[since:])

    def generation(self, bucket: str, name: str) -> str:
        """Returns the generation of an object, `0` where there is none."""
        try:
            return str(self.storage.get_file_obj(bucket, name)["generation"])
        except NotFound:
            return "0"


class _Handler(RequestHandler):
    """Answers one request at a time, as the emulator is not safe for threads; bodies are received in parallel."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, server: ObjectServer, *arguments: Any) -> None:
        self.store = server
        super().__init__(server.storage, *arguments)

    def do_GET(self) -> None:  # noqa: N802  the names that http.server calls
        self._serve("GET")

    def do_POST(self) -> None:  # noqa: N802
        self._serve("POST")

    def do_PUT(self) -> None:  # noqa: N802
        self._serve("PUT")

    def do_DELETE(self) -> None:  # noqa: N802
        self._serve("DELETE")

    def log_message(self, *_: Any) -> None:
        """Nothing is logged; the requests are kept in memory."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.status = code
        super().send_response(code, message)

    def _serve(self, method: str) -> None:
        body = _read_raw_data(self) or b""
        connection, self.rfile = self.rfile, io.BytesIO(body)
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        bucket, name = _object_of(place.path)
        name = query.get("name", name) or _name_in(body)
        operation = _operation(method, place.path, query, name)
        wanted = self.store.preconditions.get(query.get("upload_id", ""), query.get("ifGenerationMatch"))
        self.status = 0
        try:
            with self.store.lock:
                status = self._refusal(operation, bucket, name, wanted)
                chunk = query.get("upload_id", ""), self.headers.get("content-range", "")
                if status is None and chunk in self.store.lost_answers:  # the server has this chunk already
                    self.wfile.write(self.store.lost_answers[chunk])
                elif status in (None, LOST):
                    self._carry_out(method, chunk if status == LOST else None)
                elif status == CUT:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self._answer(int(status or 500))
                checked = b'"crc32c"' in body[:2000] or "x-goog-hash" in self.headers
                request = Request(operation, name, wanted, self.headers.get("range"), checked, status or self.status)
                self.store.requests.append(request)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        finally:
            self.rfile = connection

    def _refusal(self, operation: str, bucket: str, name: str, wanted: str | None) -> int | None:
        fault = self.store.fault(operation, name)
        if fault is not None:
            return fault
        if bucket and bucket not in self.store.storage.buckets:
            return 404
        is_write = operation in ("insert", "chunk", "delete")
        return 412 if is_write and wanted is not None and wanted != self.store.generation(bucket, name) else None

    def _carry_out(self, method: str, lost: tuple[str, str] | None) -> None:
        """Lets the emulator answer; a lost answer is kept under its chunk instead of being sent."""
        if lost is None:
            Router(self).handle(method)
            return
        answers, self.wfile = self.wfile, io.BytesIO()
        Router(self).handle(method)
        if lost[0]:
            self.store.lost_answers[lost] = self.wfile.getvalue()
        self.wfile, self.close_connection = answers, True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int) -> None:
        error = {"code": status, "message": MESSAGES.get(status, "fault on demand")}
        content = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Location" and "upload_id=" in value:  # a resumable upload keeps the condition of its start
            query = parse_qs(urlsplit(value).query)
            if "ifGenerationMatch" in query:
                self.store.preconditions[query["upload_id"][0]] = query["ifGenerationMatch"][0]
        super().send_header(keyword, value)


def _object_of(path: str) -> tuple[str, str]:
    """Returns bucket and object of a path like `/storage/v1/b/BUCKET/o/OBJECT`."""
    _, _, rest = path.partition("/b/")
    bucket, _, name = rest.partition("/o")
    return bucket, unquote(name.lstrip("/"))


def _name_in(body: bytes) -> str:
    """Returns the object's name in the metadata of an upload; empty for any other body."""
    start = body.find(b"{")
    if start < 0:
        return ""
    try:
        found, _ = json.JSONDecoder().raw_decode(body[start : start + 4000].decode("utf-8", "ignore"))
    except ValueError:
        return ""
    return str(found.get("name", "")) if isinstance(found, dict) else ""


def _operation(method: str, path: str, query: dict[str, str], name: str) -> str:
    if method == "DELETE":
        return "delete"
    if method == "PUT":
        return "chunk"
    if method == "POST":
        return "insert" if "uploadType" in query else "other"
    if not name:
        return "list" if path.endswith("/o") else "bucket"
    return "media" if query.get("alt") == "media" else "get"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def object_server(*, port: int = 0, folder: Path | None = None) -> Iterator[ObjectServer]:
    """Yields a server on loopback, with its objects in memory or in a folder."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api.object").setLevel(logging.CRITICAL)
    if folder is None:
        storage = Storage(use_memory_fs=True)
        storage._write_config_to_file = lambda: None  # noqa: SLF001  the emulator writes all metadata at every change
    else:
        folder.mkdir(parents=True, exist_ok=True)
        storage = KeptStorage(folder / "objects.db")
    server = ObjectServer("", storage)
    listener = _Listener(("127.0.0.1", port), partial(_Handler, server))
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
        if isinstance(storage, KeptStorage):
            storage.close()


def main() -> None:
    """Serves until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=4443)
    parser.add_argument("--folder", type=Path, required=True, help="where the objects are kept")
    parser.add_argument("--bucket", action="append", default=[], help="bucket that is made if it does not exist")
    chosen = parser.parse_args()
    with object_server(port=chosen.port, folder=chosen.folder) as server:
        server.requests = deque(maxlen=1)  # it may run for weeks, and nobody counts them
        for name in chosen.bucket:
            if name not in server.storage.buckets:
                server.make_bucket(name)
        print(server.url, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
