"""The client of object stores: `gs://` URLs as a file system, by google-cloud-storage.

`cellassets.storage` registers it with fsspec, so every `UPath` on `gs://` uses it. Each call has a time limit and is
repeated with growing pauses when the service is overloaded, does not answer or cuts the connection. An upload carries
its CRC32C, which the server compares with the bytes that arrive; a file that is read as a whole is compared with the
server's CRC32C. docs/object_storage.md says why this client was chosen, and what each stage costs in requests.

An object is read as a whole when it is opened. `cat_file` and `cat_ranges` read parts of it.
"""

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractFileSystem
from fsspec.utils import merge_offset_ranges

from cellassets.errors import ConfigError, CorruptArtifact, StorageRefused

if TYPE_CHECKING:
    from datetime import datetime

    from google.api_core.retry import Retry
    from google.cloud.storage import Blob, Client

FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_FACTOR = 0.5, 16.0, 2.0
GIVE_UP_AFTER_S = 180.0  # an outage of a minute passes
TIMEOUTS_S = (10.0, 60.0)  # to connect, and between two packets
UPLOAD_CHUNK_BYTES = 32 << 20  # of a file over 8 MiB; a broken connection costs one chunk
N_CONNECTIONS = 32
MAX_GAP_BYTES = 1 << 16  # a request costs more time than reading this much
MAX_RANGE_BYTES = 16 << 20
FIELDS = "items(name,size,etag,generation,crc32c,updated),prefixes,nextPageToken"


class ObjectStore(AbstractFileSystem):
    """Objects of Google Cloud Storage as files; folders are the common beginnings of their names."""

    protocol = ("gs", "gcs")

    def info(self, path: str, *, is_object: bool = False, **_: Any) -> dict[str, Any]:
        """Returns size, checksum and generation of an object, or that it is a folder.

        Args:
            path: the object or folder.
            is_object: only an object counts. Otherwise a listing follows where there is none.

        Raises:
            FileNotFoundError: neither an object nor a folder has this name.
        """
        path = self._strip_protocol(path)
        blob = self._get(path) if _parts(path)[1] else None
        if blob is not None:
            return _describe(path, blob)
        if not is_object and self.isdir(path):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def exists(self, path: str, **_: Any) -> bool:
        """Returns true for an object and for a folder."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def modified(self, path: str) -> "datetime":
        """Returns when an object was written."""
        written: datetime = self.info(path)["updated"]
        return written

    def isfile(self, path: str) -> bool:
        """Returns true for an object, with one request."""
        path = self._strip_protocol(path)
        return bool(_parts(path)[1]) and self._get(path) is not None

    def isdir(self, path: str) -> bool:
        """Returns true for a folder with something in it and for a bucket, with one request."""
        path = self._strip_protocol(path)
        found, folders = self._list(path, max_results=1)
        return bool(found or folders or not _parts(path)[1])

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Returns the objects and folders in a folder, with one request per thousand of them.

        Raises:
            FileNotFoundError: the folder has nothing in it.
        """
        path = self._strip_protocol(path)
        found, folders = self._list(path, delimiter="/")
        if not found and not folders and _parts(path)[1]:
            raise FileNotFoundError(path)
        listed = [*found, *({"name": name, "size": 0, "type": "directory"} for name in folders)]
        listed.sort(key=lambda entry: entry["name"])
        return listed if detail else [entry["name"] for entry in listed]

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """Returns all objects below a folder, with one request per thousand of them.

        Args:
            path: the folder.
            maxdepth: 1 for the folder alone, None for all folders below it.
            withdirs: includes folders, if `maxdepth` is 1.
            detail: returns what is known of each object, by name, instead of the sorted names.
        """
        path = self._strip_protocol(path)
        found, folders = self._list(path, delimiter="/" if maxdepth == 1 else None)
        entries = {entry["name"]: entry for entry in found}
        if withdirs:
            entries |= {name: {"name": name, "size": 0, "type": "directory"} for name in folders}
        return dict(sorted(entries.items())) if detail else sorted(entries)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Returns the bytes of an object from `start` to before `end`, with one request.

        Raises:
            FileNotFoundError: there is no such object.
            ConnectionError: the store does not answer, or, where the whole object is read, the bytes that arrived
                differ from its checksum.
        """
        path = self._strip_protocol(path)
        if start is not None and start < 0:
            start += int(self.info(path)["size"])
        if end is not None and end <= (start or 0):
            return b""
        is_whole = start is None and end is None
        with _explained(path):
            return self._blob(path).download_as_bytes(
                start=start,
                end=None if end is None else end - 1,
                raw_download=True,
                checksum="crc32c" if is_whole else None,
                **_limits(),
            )

    def cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, max_gap: int | None = None, on_error: str = "raise", **_: Any
    ) -> list[bytes]:
        """Returns the bytes of several ranges. Neighbouring ranges are read by one request, the others in parallel."""
        del on_error
        gap = MAX_GAP_BYTES if max_gap is None else max_gap
        wanted = list(zip(paths, starts, ends, strict=True))
        blocks = list(
            zip(*merge_offset_ranges(list(paths), list(starts), list(ends), gap, MAX_RANGE_BYTES), strict=True)
        )
        contents = in_parallel(self.cat_file, blocks)
        return [_cut(blocks, contents, *each) for each in wanted]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Writes an object in one step.

        Args:
            path: the object.
            value: its content.
            mode: `create` for an object that must not exist yet. If it exists with this very content, a repeated
                request found the result of one whose answer was lost, and all is well.

        Raises:
            FileExistsError: the object exists with other content; it is not changed.
        """
        path = self._strip_protocol(path)
        try:
            self._upload(path, io.BytesIO(value), len(value), is_new=mode == "create")
        except FileExistsError:
            if self.cat_file(path) != value:
                raise

    def put_file(self, lpath: str, rpath: str, *_: Any, **__: Any) -> None:
        """Writes the content of a local file to an object in one step."""
        with Path(lpath).open("rb") as stream:
            self._upload(self._strip_protocol(rpath), stream, Path(lpath).stat().st_size)

    def rm_file(self, path: str, generation: int | None = None) -> None:
        """Removes an object.

        Args:
            path: the object.
            generation: the object is removed only if this is still its generation.

        Raises:
            FileNotFoundError: there is no such object.
            FileExistsError: it was written again and has another generation now; it is not removed.
        """
        path = self._strip_protocol(path)
        with _explained(path):
            self._blob(path).delete(if_generation_match=generation, **_limits())

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Removes an object, or everything below a folder."""
        del maxdepth
        if recursive:
            in_parallel(self._rm_if_there, [(name,) for name in self.find(path)])
        else:
            self.rm_file(path)

    def _rm_if_there(self, path: str) -> None:
        try:
            self.rm_file(path)
        except FileNotFoundError:
            return  # a repeated request, or another process

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if mode == "rb":
            return io.BytesIO(self.cat_file(path))
        if mode == "wb":
            return _Upload(self, path)
        message = f"gs://{path}: objects are opened with 'rb' or 'wb', not {mode!r}"
        raise ValueError(message)

    def _blob(self, path: str) -> "Blob":
        bucket, name = _parts(path)
        return client().bucket(bucket).blob(name)

    def _get(self, path: str) -> "Blob | None":
        bucket, name = _parts(path)
        with _explained(path):
            return client().bucket(bucket).get_blob(name, **_limits())

    def _upload(self, path: str, stream: io.BufferedIOBase, size: int, *, is_new: bool = False) -> None:
        blob = self._blob(path)
        blob.chunk_size = UPLOAD_CHUNK_BYTES
        with _explained(path, missing=_no_bucket(path)):
            blob.upload_from_file(
                stream,
                size=size,
                rewind=True,
                content_type="application/octet-stream",
                if_generation_match=0 if is_new else None,
                checksum="crc32c",
                **_limits(),
            )

    def _list(self, path: str, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """Returns the objects below a folder, and the names of the folders where a delimiter is given."""
        bucket, name = _parts(path)
        prefix = f"{name}/" if name else ""
        with _explained(path, missing=_no_bucket(path)):
            pages = client().list_blobs(bucket, prefix=prefix, fields=FIELDS, **options, **_limits())
            found = [_describe(f"{bucket}/{blob.name}", blob) for blob in pages if blob.name != prefix]
        return found, [f"{bucket}/{folder.rstrip('/')}" for folder in pages.prefixes]


class _Upload(io.BytesIO):
    """Content that becomes an object when the file is closed, unless its block ended with an error."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        super().__init__()
        self._store, self._path = store, path

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            super().close()
        self.close()

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._store.pipe_file(self._path, content)


def in_parallel(
    function: Any, arguments: Sequence[tuple[Any, ...]], *, n_threads: int = N_CONNECTIONS // 2
) -> list[Any]:
    """Returns the results of a function for several sets of arguments, by threads that mostly wait for a network."""
    if len(arguments) < 2:
        return [function(*each) for each in arguments]
    with ThreadPoolExecutor(min(n_threads, len(arguments))) as pool:
        return list(pool.map(lambda each: function(*each), arguments))


def client() -> "Client":
    """Returns this process's client. With `STORAGE_EMULATOR_HOST` set it talks to that server, without credentials.

    Raises:
        ConfigError: there are no credentials.
    """
    return _client(os.getpid())


@lru_cache(maxsize=1)
def _client(_process: int) -> "Client":
    """Connections must not be shared with a forked process, so each process has a client of its own."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    try:
        made = Client(project="unused")  # no request of this module needs one; without it the client looks for one
    except DefaultCredentialsError as error:
        message = (
            "gs://: no credentials for Google Cloud Storage. In a cluster bind the pod's service account (Workload "
            "Identity); elsewhere run `gcloud auth application-default login` or set GOOGLE_APPLICATION_CREDENTIALS"
        )
        raise ConfigError(message) from error
    made._bucket_metadata_cache = None  # noqa: SLF001  it sends requests of its own, from threads, to name its traces
    for scheme in ("https://", "http://"):
        made._http.mount(scheme, HTTPAdapter(pool_maxsize=N_CONNECTIONS))  # noqa: SLF001  the way that its makers name
    return made


def _limits() -> dict[str, Any]:
    return {"timeout": TIMEOUTS_S, "retry": _retry()}


def _retry() -> "Retry":
    from google.cloud.storage.retry import DEFAULT_RETRY

    pauses = DEFAULT_RETRY.with_delay(FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_FACTOR)
    return pauses.with_timeout(GIVE_UP_AFTER_S)


@contextmanager
def _explained(path: str, *, missing: Exception | None = None) -> Iterator[None]:
    """Turns errors of the client into the built-in ones that a local file would give, or into clear refusals."""
    from google.api_core import exceptions
    from google.cloud.storage.exceptions import DataCorruption
    from requests import RequestException

    try:
        yield
    except exceptions.NotFound as error:
        raise (missing or FileNotFoundError(f"gs://{path}")) from error
    except exceptions.RequestRangeNotSatisfiable as error:
        message = f"gs://{path}: shorter than expected: the range that was asked for is after its end"
        raise CorruptArtifact(message) from error
    except exceptions.PreconditionFailed as error:
        message = f"gs://{path}"
        raise FileExistsError(message) from error
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        message = (
            f"gs://{path}: refused ({str(error.message)[:300]}); give this service account the role Storage Object User"
        )
        raise StorageRefused(message) from error
    except DataCorruption as error:
        message = f"gs://{path}: the bytes that arrived differ from the checksum of the server ({error})"
        raise ConnectionError(message) from error
    except (exceptions.GoogleAPICallError, exceptions.RetryError, RequestException) as error:
        message = f"gs://{path}: no usable answer within {GIVE_UP_AFTER_S:.0f} s ({error}); repeat the run later"
        raise ConnectionError(message) from error


def _no_bucket(path: str) -> ConfigError:
    bucket, _ = _parts(path)
    message = (
        f"gs://{bucket}: there is no such bucket; create it, or correct the URL in CELLASSETS_LAKE, CELLASSETS_LANDING "
        "or CELLASSETS_CONFIGS"
    )
    return ConfigError(message)


def _parts(path: str) -> tuple[str, str]:
    """Returns the bucket and the name of an object."""
    bucket, _, name = path.partition("/")
    return bucket, name.rstrip("/")


def _describe(path: str, blob: "Blob") -> dict[str, Any]:
    return {
        "name": path,
        "size": int(blob.size or 0),
        "type": "file",
        "etag": blob.etag,
        "generation": blob.generation,
        "crc32c": blob.crc32c,
        "updated": blob.updated,
    }


def _cut(blocks: list[tuple[str, int, int]], contents: list[bytes], path: str, start: int, end: int) -> bytes:
    """Returns one range from the block that contains it."""
    for (name, first, last), content in zip(blocks, contents, strict=True):
        if name == path and first <= start and end <= last:
            return content[start - first : end - first]
    message = f"gs://{path}: bytes {start} to {end} were not read"
    raise AssertionError(message)
