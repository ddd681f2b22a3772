"""The page's parts that need no browser: its files, its forms, and what they do with what is sent to them."""

import gzip
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.sample.support import wait_for_account
from tests.support.forms import FORM, MULTIPART, form, part
from tests.support.gcs import create_bucket, strict_gcs
from tests.support.http import Answer
from tests.support.processes import freeze, wait_until
from tests.support.product import Visitor, running_product
from tests.support.raw import RawClient
from tests.support.redis import redis_server
from tests.support.stacks import Stack


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with Visitor(stack.app_url) as somebody:
        yield somebody


@pytest.fixture
def guest(small: Stack) -> Iterator[Visitor]:
    """A visitor of the service with small limits."""
    with Visitor(small.app_url) as somebody:
        yield somebody


def upload(visitor: Visitor, *parts: bytes) -> Answer:
    return visitor.ask("POST", "/forms/upload", form(*parts), MULTIPART)


def names_of(visitor: Visitor) -> list[str]:
    return [file["name"] for file in visitor.get("/api/files").json["files"]]


def asset_addresses(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/static/[^"]+)"', page)


def test_every_file_of_the_page_is_there_for_a_year(visitor: Visitor) -> None:
    addresses = asset_addresses(visitor.get("/").body.decode())
    assert {address.rpartition(".")[2] for address in addresses} == {"css", "js", "svg"}
    for address in addresses:
        plain = visitor.get(address)
        packed = visitor.get(address, accept_encoding="gzip")
        assert (
            plain.headers["Cache-Control"] == packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        )
        assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("refused", ["gzip;q=0", "identity", "br", ""])
def test_nobody_gets_a_coding_that_was_not_asked_for(visitor: Visitor, refused: str) -> None:
    [address, *_] = asset_addresses(visitor.get("/").body.decode())
    assert "Content-Encoding" not in visitor.get(address, accept_encoding=refused).headers


def test_another_versions_page_gets_files_that_are_not_kept(visitor: Visitor) -> None:
    """While two versions serve, the page of one asks the other."""
    answer = visitor.get("/static/0123456789abcdef/page.js")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["none.js", "%2e%2e%2fpage.py", "..%2f..%2fpage.py", "page.js%00", "index.html"])
def test_nothing_else_is_among_them(visitor: Visitor, name: str) -> None:
    assert visitor.get(f"/static/x/{name}").status == 404


def test_the_page_begins_no_session(visitor: Visitor) -> None:
    assert "Set-Cookie" not in visitor.get("/").headers


def test_nothing_in_the_page_is_inline(visitor: Visitor) -> None:
    page = visitor.get("/").body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page)


def test_every_text_that_the_script_says_is_in_the_page(visitor: Visitor) -> None:
    page = visitor.get("/").body.decode()
    known = set(re.findall(r'data-text="([^"]+)"', page))
    used = set()
    for address in asset_addresses(page):
        script = visitor.get(address).body.decode()
        used |= set(re.findall(r'\b(?:text|show|label)\("([a-z-]+)"', script))
    ids = {"live", "ready"}  # of states, which are shown too
    assert used - ids - {"cancel", "dismiss"} <= known
    assert {"cancel-button", "dismiss-button", "cancel", "dismiss"} <= known


def test_the_forms_do_what_the_api_does(visitor: Visitor) -> None:
    answer = visitor.ask("POST", "/forms/sign-in", urlencode({"name": "Ada é"}).encode(), FORM)
    assert (answer.status, answer.headers["Location"]) == (303, "/#session")
    visitor.ask("POST", "/forms/visit")
    session = visitor.get("/api/session").json
    assert (session["name"], session["visits"]) == ("Ada é", 1)
    assert upload(visitor, part("file", b"content", filename="a.txt", content_type="text/plain")).status == 303
    [file] = visitor.get("/api/files").json["files"]
    assert (file["name"], file["size"], file["content_type"]) == ("a.txt", 7, "text/plain")
    fields = urlencode({"name": "a.txt", "etag": file["etag"]}).encode()
    assert visitor.ask("POST", "/forms/delete", fields, FORM).headers["Location"] == "/#files"
    assert names_of(visitor) == []
    assert visitor.ask("POST", "/forms/sign-out").status == 303
    assert not visitor.get("/api/session").json["exists"]


def test_the_page_shows_the_state_without_a_script(visitor: Visitor) -> None:
    visitor.ask("PUT", "/api/session", name="<b>Ada</b>")
    visitor.put("x & y.txt", b"12345")
    page = visitor.get("/").body.decode()
    assert "&lt;b&gt;Ada&lt;/b&gt;" in page
    assert "<b>Ada" not in page
    assert 'href="/api/files/x%20%26%20y.txt"' in page
    assert "5 Bytes" in page


def test_a_form_replaces_only_what_it_may(visitor: Visitor) -> None:
    visitor.put("there", b"old")
    answer = upload(visitor, part("file", b"1", filename="new"), part("file", b"2", filename="there"))
    assert (answer.status, answer.kind) == (412, "changed-meanwhile")
    assert answer.json["detail"].startswith("there: There is a file of this name already.")
    assert "were kept: new." in answer.json["detail"]
    assert visitor.get("/api/files/there").body == b"old"
    upload(visitor, part("replace", b"yes"), part("file", b"2", filename="there"))
    assert visitor.get("/api/files/there").body == b"2"


def test_a_form_without_a_file_is_not_an_upload(visitor: Visitor) -> None:
    assert upload(visitor, part("file", b"", filename="")).status == 400
    assert upload(visitor).status == 400


def test_a_bad_name_leaves_nothing(visitor: Visitor) -> None:
    answer = upload(visitor, part("file", b"x", filename="a/b"))
    assert (answer.status, answer.headers.get_content_type()) == (400, "application/problem+json")
    assert names_of(visitor) == []


@pytest.mark.parametrize("body", [b"name=%00", b"nobody=Ada"])
def test_a_bad_name_signs_nobody_in(visitor: Visitor, body: bytes) -> None:
    assert visitor.ask("POST", "/forms/sign-in", body, FORM).status == 400
    assert not visitor.get("/api/session").json["exists"]


def test_an_upload_that_is_cut_off_leaves_nothing(stack: Stack, visitor: Visitor) -> None:
    visitor.ask("POST", "/api/session/visits")
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    sent = part("file", b"x" * 500_000, filename="half")
    with RawClient(stack.app_url) as client:
        head = f"POST /forms/upload HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Length: 900000\r\n"
        client.send(head.encode() + f"Content-Type: {MULTIPART['Content-Type']}\r\n\r\n".encode() + sent)
    wait_for_account(visitor, files=0, size=0)
    assert names_of(visitor) == []


def test_limits_hold_for_forms(small: Stack, guest: Visitor) -> None:
    answer = upload(guest, part("file", b"x" * 1_000_001, filename="large"))
    assert (answer.status, names_of(guest)) == (413, [])
    assert (
        upload(guest, part("file", b"x" * 900_000, filename="a"), part("file", b"x" * 900_000, filename="b")).status
        == 303
    )
    answer = upload(guest, part("file", b"x" * 900_000, filename="c"))
    assert (answer.status, names_of(guest)) == (507, ["a", "b"])
    wait_for_account(guest, files=2, size=1_800_000)


def test_another_site_may_send_no_form(visitor: Visitor) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert visitor.ask("POST", "/forms/visit", headers=headers).status == 403


def test_the_page_does_not_wait_for_a_store_that_is_down(tmp_path: Path) -> None:
    with strict_gcs(tmp_path) as gcs:
        create_bucket(gcs.url, "files")
        settings = {
            "STORAGE_URL": "gs://files",
            "STORAGE_EMULATOR_HOST": gcs.url,
            "STORAGE_TIMEOUT": "2s",
            "STORAGE_RETRY_BUDGET": "300s",
        }
        with running_product(tmp_path, settings) as service, Visitor(service.app_url, timeout=20) as visitor:
            visitor.put("a.txt", b"x")
            freeze(gcs.pid)
            try:
                service.wait_for(lambda record: "storage can't serve" in record["message"])
                page = visitor.get("/").body.decode()
            finally:
                os.kill(gcs.pid, signal.SIGCONT)
            assert "The object store is out of reach." in page
            wait_until("the store's return", lambda: "a.txt" in visitor.get("/").body.decode())


def test_the_status_tells_no_more_than_visitors_may_know(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis, running_product(tmp_path, SESSION_URL=redis.url) as service:
        with Visitor(service.app_url) as visitor:
            redis.process.terminate()
            service.wait_for(lambda record: "sessions can't serve" in record["message"])
            answer = visitor.get("/api/status")
            assert answer.json["dependencies"]["sessions"].keys() == {"status", "since"}
            assert answer.json["dependencies"]["sessions"]["status"] == "fail"
            assert answer.json["ready"] == {"status": "pass"}
            assert str(redis.port) not in answer.body.decode()
            assert "figures" not in answer.json
            assert answer.headers["X-Served-By"] == answer.json["instance"]["name"]


def test_the_figures_are_those_of_the_metrics(tmp_path: Path) -> None:
    with running_product(tmp_path, PAGE_NUMBERS="true", WEB_CONCURRENCY="2", THREADS="3") as service:
        for _ in range(20):
            with Visitor(service.app_url) as visitor:
                assert visitor.get("/api/instance").status == 200
        with Visitor(service.app_url) as visitor:

            def figures() -> dict[str, Any]:
                return dict(visitor.get("/api/status").json["figures"])

            # The second worker may be late, and a request is counted when its client has its answer already.
            wait_until("both workers", lambda: figures()["threads"] == 6)
            wait_until("all requests", lambda: figures()["requests"] >= 20)
            seen = figures()
    assert seen["threads_busy"] >= 1
    assert seen["errors"] == 0
    assert seen["latency"][-1] == [None, seen["requests"]]
    counts = [count for _, count in seen["latency"]]
    assert counts == sorted(counts)
