"""The server of the explorer: documents, the built page, reports. Read only.

Starlette and uvicorn, which Dagster's webserver brings along. There is no login: it listens on loopback unless another
host is named, and answers only requests that name a host it knows, so that a web page of somebody else cannot read it
through a name that resolves to 127.0.0.1.
"""

import json
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cellassets.errors import (
    ArtifactMissing,
    CellAssetsError,
    ConfigError,
    DatasetError,
    PartitionKeyError,
)
from cellassets.explorer.bundle_files import FILES, bundle_file, page
from cellassets.explorer.documents import Documents

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# a report is one file with its styles and scripts inside
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
MIN_COMPRESSED_BYTES = 1024


def application(documents: Documents, hosts: Sequence[str] = LOOPBACK) -> "Starlette":
    """Returns the web application.

    Args:
        documents: what it shows.
        hosts: names under which it may be asked.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    def front(_request: "Request") -> "Response":
        return HTMLResponse(page(), headers=_headers(POLICY))

    def bundled(request: "Request") -> "Response":
        name = request.path_params["name"]
        if name not in FILES:
            return Response("there is no such file\n", 404, media_type="text/plain")
        return Response(bundle_file(name), headers=_headers(POLICY), media_type=FILES[name])

    def document(request: "Request") -> "Response":
        status, made = answer(documents, request.path_params["path"])
        content = json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
        return Response(content, status, headers=_headers(POLICY), media_type="application/json")

    def report(request: "Request") -> "Response":
        try:
            content = report_of(documents, request.path_params["model_key"])
        except CellAssetsError as error:
            return Response(f"{error}\n", 404, headers=_headers(POLICY), media_type="text/plain")
        return HTMLResponse(content, headers=_headers(REPORT_POLICY))

    return Starlette(
        routes=[
            Route("/", front),
            Route("/api/{path:path}", document),
            Route("/reports/{model_key}", report),
            Route("/{name}", bundled),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts]),
            Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=1),
        ],
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """Yields a socket that listens, and its address for a browser.

    Args:
        host: address to listen on.
        port: port to listen on; 0 for a free one.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            message = f"{host}:{port} cannot be listened on ({error.strerror or error}); name another --port"
            raise ConfigError(message) from error
        named = f"[{host}]" if family == socket.AF_INET6 else host
        yield listener, f"http://{named}:{listener.getsockname()[1]}/"


def serve(documents: Documents, listener: socket.socket, *, hosts: Sequence[str] = ()) -> None:
    """Serves until it is stopped.

    Args:
        documents: what it shows.
        listener: from `listening`.
        hosts: names under which it may be asked, beside those of loopback.
    """
    import uvicorn

    threading.Thread(target=_warm_up, args=(documents,), daemon=True).start()
    settings = uvicorn.Config(application(documents, [*LOOPBACK, *hosts]), log_level="warning")
    uvicorn.Server(settings).run(sockets=[listener])


def answer(documents: Documents, path: str) -> tuple[int, dict[str, object]]:
    """Returns the status and the document, or a document that says why there is none."""
    try:
        return 200, documents.get(path)
    except (ArtifactMissing, DatasetError, PartitionKeyError) as error:
        return 404, {"error": str(error)}
    except CellAssetsError as error:
        logger.warning("%s: %s", path, error)
        return 500, {"error": str(error)}


def report_of(documents: Documents, model_key: str) -> bytes:
    """Returns the published report of a model.

    Raises:
        ArtifactMissing: none is published.
    """
    published = documents.home.deployment.lake.current("model_report", model_key)
    return published.file("report.html").read_bytes()


def _warm_up(documents: Documents) -> None:
    try:
        documents.warm_up()
    except CellAssetsError as error:  # whoever asks for it gets the message, too
        logger.warning("%s", error)


def _headers(policy: str) -> dict[str, str]:
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cache-control": "no-cache",
    }
