"""Downloads from a real server on loopback: whole ones arrive, all others are refused with the reason."""

import time

import pytest

from cellassets.errors import AnnotationError
from cellassets.knowledge.pack_files import Limits, fetch_file

LIMITS = Limits(max_bytes=1_000_000, timeout_s=5.0)
CONTENT = bytes(range(256)) * 1000


def test_a_whole_file_arrives_over_https_and_from_disk(web, tmp_path):
    _, address = web({"/file": CONTENT})
    (tmp_path / "file").write_bytes(CONTENT)
    assert fetch_file(f"{address}/file", LIMITS) == fetch_file(str(tmp_path / "file"), LIMITS) == CONTENT


def test_a_redirection_to_https_is_followed(web):
    _, address = web({"/old": web.server.redirect_to("/file"), "/file": CONTENT})
    assert fetch_file(f"{address}/old", LIMITS) == CONTENT


def test_a_redirection_to_http_is_refused_and_not_asked(web):
    plain, plain_address = web({"/file": CONTENT}, is_secure=False)
    _, address = web({"/old": web.server.redirect_to(f"{plain_address}/file")})
    with pytest.raises(AnnotationError, match=f"leads to {plain_address}/file, which is not https"):
        fetch_file(f"{address}/old", LIMITS)
    assert plain.asked == []


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "gs"])
def test_other_schemes_are_refused(scheme):
    with pytest.raises(AnnotationError, match=f"{scheme} is not accepted; expected an https address or a local file"):
        fetch_file(f"{scheme}://127.0.0.1/file", LIMITS)


def test_a_server_with_an_unknown_certificate_is_refused(web, monkeypatch, tmp_path):
    _, address = web({"/file": CONTENT})
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(AnnotationError, match=r"could not be downloaded.*certificate"):
        fetch_file(f"{address}/file", LIMITS)


def test_a_download_that_is_cut_off_is_refused(web):
    _, address = web({"/file": web.server.cut_off(CONTENT, 70_000)})
    with pytest.raises(AnnotationError, match=r"cut off|IncompleteRead"):
        fetch_file(f"{address}/file", LIMITS)


def test_a_file_that_is_too_large_is_refused_by_its_length_or_when_it_gets_too_large(web, tmp_path):
    _, address = web({"/file": CONTENT, "/endless": web.server.endless})
    with pytest.raises(AnnotationError, match="at least 256000 bytes, expected at most 1000"):
        fetch_file(f"{address}/file", Limits(max_bytes=1000))
    with pytest.raises(AnnotationError, match=r"at least 10\d{5} bytes, expected at most 1000000"):
        fetch_file(f"{address}/endless", LIMITS)
    (tmp_path / "file").write_bytes(CONTENT)
    with pytest.raises(AnnotationError, match="at least 65536 bytes, expected at most 1000"):
        fetch_file(str(tmp_path / "file"), Limits(max_bytes=1000))


def test_nobody_waits_longer_than_the_limits(web):
    _, address = web({"/silent": web.server.silent, "/slow": web.server.trickling})
    started = time.monotonic()
    with pytest.raises(AnnotationError, match=r"could not be downloaded.*timed out"):
        fetch_file(f"{address}/silent", Limits(timeout_s=0.1))
    with pytest.raises(AnnotationError, match=r"not complete after 0.2 s"):
        fetch_file(f"{address}/slow", Limits(total_s=0.2))
    assert time.monotonic() - started < 1.5


def test_what_is_not_there_is_named(web, tmp_path):
    _, address = web({})
    with pytest.raises(AnnotationError, match=r"HTTP Error 404.*install it with --from FILE"):
        fetch_file(f"{address}/file", LIMITS)
    with pytest.raises(AnnotationError, match=r"none\.txt: cannot be read \(No such file or directory\)"):
        fetch_file(str(tmp_path / "none.txt"), LIMITS)
    with pytest.raises(AnnotationError, match="Is a directory"):
        fetch_file(str(tmp_path), LIMITS)
