"""The edges: headers on every answer, problem documents on every fault, proxies, hosts, other sites, and the API's
own description."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from service.http.problem_details import KIND_POINTER
from tests.support.edges import assert_guarded, assert_problem, find_nothing
from tests.support.http import Visitor
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service
from tests.support.stacks import Stack, running_stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The edges are the same on every store."""
    with running_stack("memory") as running:
        yield running


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with Visitor(stack.app_url) as somebody:
        yield somebody


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that answers to localhost only."""
    with running_service(tmp_path_factory.mktemp("hosts"), ALLOWED_HOSTS="localhost") as service:
        yield service.app_url


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/api/instance", 200),
        ("GET", "/static/x/error.css", 200),
        ("GET", "/static/x/none.css", 404),
        ("GET", "/openapi.json", 200),
        ("GET", "/session", 200),
        ("GET", "/fail", 500),
        ("GET", "/nowhere", 404),
        ("GET", "/bytes/none", 404),
        ("POST", "/", 405),
        ("TRACE", "/", 405),
        ("GET", "/metrics", 404),  # on the ops listener only
        ("GET", "//example.org/", 404),
        ("DELETE", "/health", 405),
    ],
)
def test_every_response_has_security_headers_and_every_error_is_a_problem(
    visitor: Visitor, method: str, path: str, status: int
) -> None:
    answer = visitor.ask(method, path)
    assert answer.status == status
    assert_guarded(answer)
    if status >= 400:
        assert_problem(answer, path)


def test_a_browser_gets_a_page(visitor: Visitor) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = visitor.ask("GET", "/<script>alert(1)</script>", headers={"Accept": accept})
    assert (answer.status, answer.headers.get_content_type()) == (404, "text/html")
    assert b"<script>" not in answer.body
    assert_guarded(answer)


def test_no_cache_keeps_a_response_of_the_api(visitor: Visitor) -> None:
    assert visitor.get("/session").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://HOST"}, False),
        ({"Origin": "http://HOST"}, True),
        ({"Origin": "http://example.org"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://HOST.example.org"}, False),
    ],
)
def test_another_site_may_not_write(stack: Stack, visitor: Visitor, headers: dict[str, str], *, allowed: bool) -> None:
    host = stack.app_url.removeprefix("http://").rstrip("/")
    sent = {name: value.replace("HOST", host) for name, value in headers.items()}
    answer = visitor.ask("POST", "/visits", headers=sent)
    assert answer.status == (200 if allowed else 403)
    if not allowed:
        assert answer.kind == "cross-site"
        assert "Set-Cookie" not in answer.headers
    assert visitor.ask("GET", "/api/instance", headers=sent).status == 200


def test_only_allowed_hosts_are_served_but_health_always(tmp_path: Path) -> None:
    with running_service(tmp_path, ALLOWED_HOSTS="example.org,*.example.com,[::1]") as service:
        with Visitor(service.app_url) as visitor:
            for host, status in {
                "example.org": 200,
                "EXAMPLE.org:8080": 200,
                "a.example.com": 200,
                "[::1]:80": 200,
                "example.com": 400,
                "evil.org": 400,
                "example.org.evil.org": 400,
                "evilexample.com": 400,
                "": 400,
            }.items():
                assert visitor.ask("GET", "/api/instance", headers={"Host": host}).status == status, host
            assert visitor.ask("GET", "/health", headers={"Host": "10.1.2.3"}).status == 200


@pytest.mark.parametrize(
    ("request_head", "status", "kind"),
    [
        (b"GET /api/instance HTTP/1.1\r\n", 400, "bad-host"),
        (b"GET /api/instance HTTP/1.1\r\nHost:\r\n", 400, "bad-host"),
        (b"GET /api/instance HTTP/1.1\r\nHost: localhost:80@evil\r\n", 400, "bad-host"),
        (b"GET /api/instance HTTP/1.1\r\nHost: localhost, evil\r\n", 400, "bad-host"),
        (b"GET /api/instance HTTP/1.1\r\nHost: local host\r\n", 400, "bad-host"),
        (b"GET /api/instance HTTP/1.0\r\n", 400, "unknown-host"),
        (b"GET http://evil/api/instance HTTP/1.1\r\nHost: localhost\r\n", 400, "unknown-host"),
        (b"GET http://localhost/api/instance HTTP/1.1\r\nHost: evil\r\n", 200, ""),
        (b"GET /api/instance HTTP/1.1\r\nHost: LOCALHOST:8080\r\n", 200, ""),
        (b"GET /health HTTP/1.0\r\n", 200, ""),
    ],
)
def test_the_host_that_is_asked_for_is_decided_once(hosts: str, request_head: bytes, status: int, kind: str) -> None:
    """RFC 9112 §3.2: a request has one Host, and the target's authority overrides it."""
    with RawClient(hosts) as client:
        client.send(request_head + b"\r\n")
        answer = client.answer()
    assert (answer.status, answer.kind if kind else "") == (status, kind)


def test_a_redirect_names_no_host(hosts: str) -> None:
    with RawClient(hosts) as client:
        client.send(b"GET http://localhost?a=b HTTP/1.1\r\nHost: evil\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.headers["Location"]) == (308, "/?a=b")


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "x"])
def test_other_transfer_codings_than_chunked_are_refused(stack: Stack, coding: str) -> None:
    with RawClient(stack.app_url) as client:
        client.send(head("PUT", "/bytes/a", f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
        assert client.answer().status in ({501} if "chunked" in coding else {400, 501})


def test_a_packed_body_is_refused_and_told_how_to_come(visitor: Visitor) -> None:
    answer = visitor.put("packed", b"x", content_encoding="gzip")
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert visitor.put("plain", b"x", content_encoding="identity").status == 201


@pytest.mark.parametrize(
    ("status", "severity", "request_line"),
    [(501, "INFO", "PUT"), (404, "INFO", "GET")],
)
def test_a_response_as_it_should_be_is_not_an_error_in_the_log(
    tmp_path: Path, status: int, severity: str, request_line: str
) -> None:
    with running_service(tmp_path) as service, RawClient(service.app_url) as client:
        coding = ["Transfer-Encoding: gzip, chunked"] if status == 501 else ["Content-Length: 1"]
        client.send(head(request_line, "/bytes/a", *(coding if request_line == "PUT" else [])) + b"x")
        assert client.answer().status == status
        record = service.wait_for(lambda r: r.get("httpRequest", {}).get("status") == status)
    assert record["severity"] == severity


def test_forwarded_headers_count_only_from_our_proxies(tmp_path: Path) -> None:
    """The log shows whose request it was."""
    forged = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.0.0.1", "X-Forwarded-Proto": "https"}
    for trusted, expected in {
        "": "127.0.0.1",
        "10.0.0.0/8": "127.0.0.1",  # we are not reached through it
        "127.0.0.1": "10.0.0.1",
        "127.0.0.0/8,10.0.0.0/8": "198.51.100.7",  # what stands further left is anybody's word
    }.items():
        folder = tmp_path / (trusted.replace("/", "-") or "none")
        folder.mkdir()
        with running_service(folder, FORWARDED_ALLOW_IPS=trusted) as service, Visitor(service.app_url) as visitor:
            visitor.ask("GET", "/api/instance", headers=forged)
            record = service.wait_for(lambda r: r.get("httpRequest", {}).get("requestUrl", "").endswith("/instance"))
            assert record["httpRequest"]["remoteIp"] == expected, trusted
            scheme = record["httpRequest"]["requestUrl"].partition(":")[0]
            assert scheme == ("https" if trusted.startswith("127.") else "http"), trusted


@pytest.mark.parametrize(
    "target", ["* HTTP/1.1", "http://a HTTP/1.1", "http://a:80 HTTP/1.1", "HTTP://a HTTP/1.1", "* HTTP/1.0"]
)
def test_options_of_the_server_as_a_whole(stack: Stack, target: str) -> None:
    """RFC 9110 §9.3.7, RFC 9112 §3.2.4: also the absolute form without a path."""
    with RawClient(stack.app_url) as client:
        client.send(f"OPTIONS {target}\r\nHost: a\r\n\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")
        assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
        assert_guarded(answer)
        if target.endswith("1.1"):
            client.send(head("GET", "/api/instance"))
            assert client.answer().status == 200, "the connection goes on"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET * HTTP/1.1", 400),
        ("HEAD * HTTP/1.1", 400),
        ("OPTIONS ** HTTP/1.1", 400),
        ("OPTIONS *?a HTTP/1.1", 400),
        ("OPTIONS /* HTTP/1.1", 404),
        ("OPTIONS /nowhere HTTP/1.1", 404),
        ("OPTIONS http://a/nowhere HTTP/1.1", 404),
    ],
)
def test_what_is_not_the_server_as_a_whole(stack: Stack, request_line: str, status: int) -> None:
    method = request_line.partition(" ")[0]
    with RawClient(stack.app_url) as client:
        client.send(f"{request_line}\r\nHost: a\r\n\r\n".encode())
        assert client.answer(method=method).status == status


def test_options_of_the_server_are_for_its_hosts_only(hosts: str) -> None:
    for target, host, status in ("*", "other", 400), ("http://other", "localhost", 400), ("*", "localhost", 200):
        with RawClient(hosts) as client:
            client.send(f"OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert client.answer().status == status


def test_options_of_a_route_are_its_own(visitor: Visitor) -> None:
    answer = visitor.ask("OPTIONS", "/api/instance")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "0")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


MEMBERS = {
    "203.0.113.9": "203.0.113.9",
    "203.0.113.9:5678": "203.0.113.9",
    "2001:db8::1": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "[2001:db8::1]:443": "2001:db8::1",
    '"[2001:db8::1]:443"': "2001:db8::1",
    '"203.0.113.9:5678"': "203.0.113.9",
    "[::ffff:203.0.113.9]:1": "203.0.113.9",
    # What is no address is nobody's word: the proxy itself is the client.
    **dict.fromkeys(
        [
            *("", "unknown", "_hidden", "example.org", "203.0.113.9:", "203.0.113.9:port", "203.0.113.9:5678:1"),
            *("203.0.113.999", "203.0.113.009", "203.0.113.9/32", "203.0.113.9 x", "٢٠٣.0.113.9", "203.0.113.9\xa0"),
            *("2001:db8::1]", "[2001:db8::1", "[2001:db8::1]443", "[[2001:db8::1]]", "[]:443"),
            *('"203.0.113.9', '203.0.113.9"', '""', "fe80::1%eth0", 'fe80::1%", "severity": "x', "[fe80::1%eth0]:1"),
            *("[" * 4000, ":" * 4000, "1" * 4000, "203.0.113.9:" + "5" * 4000),
        ],
        "127.0.0.1",
    ),
}


def remote_ip(service: Service, url: str) -> object:
    """Whose request the log says it was; ``url`` is the end of its URL."""
    record = service.wait_for(lambda r: r.get("httpRequest", {}).get("requestUrl", "").endswith(url))
    return record["httpRequest"]["remoteIp"]


def test_a_forwarded_address_may_have_a_port_and_brackets_and_nothing_else(tmp_path: Path) -> None:
    with running_service(tmp_path, FORWARDED_ALLOW_IPS="127.0.0.1") as service, Visitor(service.app_url) as visitor:
        for number, (member, expected) in enumerate(MEMBERS.items()):
            sent = {"X-Forwarded-For": f"198.51.100.7, {member}".encode().decode("latin-1")}
            assert visitor.ask("GET", f"/api/instance?{number}", headers=sent).status == 200
            assert remote_ip(service, f"/instance?{number}") == expected, member


def test_a_proxy_that_is_named_with_its_port_is_believed(tmp_path: Path) -> None:
    with running_service(tmp_path, FORWARDED_ALLOW_IPS="127.0.0.1,2001:db8::/32") as service:
        with Visitor(service.app_url) as visitor:
            sent = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9:1,\t[2001:db8::1]:443"}
            visitor.ask("GET", "/api/instance", headers=sent)
        assert remote_ip(service, "/instance") == "203.0.113.9"


def test_hsts_and_the_host_cookie_come_with_https(tmp_path: Path) -> None:
    with running_service(tmp_path, COOKIE_SECURE="true") as service, Visitor(service.app_url) as visitor:
        answer = visitor.ask("POST", "/visits")
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        line = answer.headers["Set-Cookie"]
        assert line.startswith("__Host-session=")
        assert "Secure" in line
        assert "Domain" not in line


def test_the_description_is_valid_and_its_problem_types_are_found_in_it(visitor: Visitor) -> None:
    document = visitor.get("/openapi.json").json
    validate(document)
    answer = visitor.ask("PUT", "/session", b"{", {"Content-Type": "application/json"})
    pointer, _, kind = answer.json["type"].rpartition("/")
    assert pointer + "/" == KIND_POINTER
    assert kind in document["components"]["x-problems"]


def test_schemathesis_finds_nothing(stack: Stack, tmp_path: Path) -> None:
    find_nothing(stack.app_url, Path(__file__).with_name("schemathesis.toml"), tmp_path)


def test_the_instance_says_which_one_responded(visitor: Visitor) -> None:
    shown = json.loads(visitor.get("/api/instance").body)
    assert set(shown) == {"name", "version", "revision", "started", "stores"}
    assert shown["stores"] == {"sessions": "memory", "storage": "file"}
