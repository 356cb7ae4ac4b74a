"""The server of the explorer: what it answers, to whom, and nothing outside its documents."""

import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from cellassets.access import OpenHome
from cellassets.errors import ConfigError
from cellassets.explorer.bundle_files import STATIC_SCRIPT, page
from cellassets.explorer.documents import Documents
from cellassets.explorer.server import application, listening


@pytest.fixture(scope="module")
def address(scored):
    import uvicorn

    with listening("127.0.0.1", 0) as (listener, address):
        app = application(Documents(OpenHome(scored.deployment)))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address
        server.should_exit = True
        thread.join()


def get(url, host=None):
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_page_and_its_files_are_served_with_a_policy(address):
    status, headers, content = get(address)
    assert status == 200
    assert content.decode() == page()
    assert STATIC_SCRIPT not in page()
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for name, kind in (("explorer.js", "text/javascript"), ("explorer.css", "text/css")):
        status, headers, _ = get(address + name)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)


def test_a_document_is_json_and_a_missing_one_says_why(address):
    status, headers, content = get(f"{address}api/home.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert len(json.loads(content)["maps"]) == 3
    status, _, content = get(f"{address}api/maps/NONE/m.v1/index.json")
    assert status == 404
    assert "m.v1" in json.loads(content)["error"]


@pytest.mark.parametrize(
    "path",
    ["explorer.py", "../documents.py", "%2e%2e/documents.py", "api/../../../etc/passwd", "reports/..%2f..", "bundle/"],
)
def test_nothing_else_is_served(address, path):
    assert get(address + path)[0] in {400, 404}


def test_another_host_name_is_refused(address):
    assert get(address, host="evil.example")[0] == 400
    assert get(address, host="localhost:3001")[0] == 200


def test_a_port_that_is_taken_is_said(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be listened on .*name another --port"),
        listening("127.0.0.1", port),
    ):
        pass


def test_a_report_that_is_not_there_is_said(address):
    status, _, content = get(f"{address}reports/none.v1")
    assert status == 404
    assert b"nothing is published" in content
