"""What is not quite a request, and what comes around it: limits on the head, broken framing, old clients, pipelines,
expectations, bodies that nobody reads."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probe import path_of
from tests.support.http import Visitor
from tests.support.raw import RawClient, head
from tests.support.service import Service, running_service

CLOSE = "Connection: close"
MOST = 1_000_000  # MAX_UPLOAD_BYTES


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("limits"), MAX_UPLOAD_BYTES=str(MOST), IO_TIMEOUT="5s") as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[RawClient]:
    with RawClient(service.app_url) as somebody:
        yield somebody


def chunked(path: str) -> bytes:
    return head("PUT", path_of(path), "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        pytest.param(head("GET", "/?" + "q" * 5000), 414, id="a long request line"),
        pytest.param(b"GET /" + b"q" * 200_000, 414, id="a request line without an end"),
        pytest.param(head("GET", "/", "X-Long: " + "v" * 9000), 431, id="a long field"),
        pytest.param(head("GET", "/", *(f"X-{n}: v" for n in range(101))), 431, id="many fields"),
        pytest.param(head("GET", "/", *(f"X-{n}: {'v' * 4000}" for n in range(90))), 431, id="much on the whole"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X-More: v\r\n" * 100_000, 431, id="a head without an end"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400, id="TLS where there is none"),
        pytest.param(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, id="an unknown version"),
        pytest.param(head("GET", "/", "No colon"), 400, id="a field that is none"),
        pytest.param(head("GET", "/", "A space : v"), 400, id="a space in a field's name"),
        pytest.param(head("GET", "/", "X: a\r\n folded"), 400, id="a folded field"),
        pytest.param(head("POST", "/", "Content-Length: 1", "Content-Length: 2") + b"xx", 400, id="two lengths"),
        pytest.param(head("POST", "/", "Content-Length: 1, 1"), 400, id="a list of lengths"),
        pytest.param(head("POST", "/", "Content-Length: -1"), 400, id="a length below nothing"),
        *(
            pytest.param(head("POST", "/", f"Content-Length: {length}") + b"x", 400, id=f"a length of {length!a}")
            for length in ("\xb2", "1_0", "+1", "0x1", "1\xa0", "\xa01", "1\x85", "")
        ),
        pytest.param(
            head("POST", "/", "Content-Length: 1", "Transfer-Encoding: chunked") + b"0", 400, id="length and coding"
        ),
        pytest.param(head("POST", "/", "Transfer-Encoding: br"), 501, id="an unknown coding"),
        pytest.param(head("POST", "/", "Transfer-Encoding: chunked, identity"), 400, id="a coding after chunked"),
        pytest.param(head("PUT", path_of("a"), "Expect: a-miracle", "Content-Length: 0"), 417, id="an expectation"),
    ],
)
def test_bytes_that_are_not_a_request_are_told_so(client: RawClient, request_head: bytes, status: int) -> None:
    """A problem document, and the connection is closed: nobody knows where the next request would begin."""
    client.send(request_head)
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert answer.headers.get_content_type() == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.wait_for_close() == b""


BARE_LINE_FEEDS = [
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    b"GET / HTTP/1.1\r\nX-Long: " + b"v" * 20_000 + b"\n",
    b"PUT /session HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: a\nX: b\r\n\r\n",
    b"a line that is no request\n",
]


@pytest.mark.parametrize("half_closed", [False, True], ids=["", "and no more comes"])
@pytest.mark.parametrize("sent", BARE_LINE_FEEDS, ids=range(len(BARE_LINE_FEEDS)))
def test_a_line_feed_without_its_carriage_return_is_refused_at_once(
    client: RawClient, sent: bytes, half_closed: bool
) -> None:
    """RFC 9112 §2.2. Such a head never ends, and would be waited for: the answer would be 408."""
    client.send(head("GET", "/api/instance") + sent[:20])
    assert client.answer().status == 200
    client.send(sent[20:])
    if half_closed:
        client.socket.shutdown(socket.SHUT_WR)
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (400, "close")
    assert client.wait_for_close() == b""


def test_line_feeds_in_a_body_are_its_content(client: RawClient) -> None:
    for size in (10, 20_000):  # a small body, and one that is not waited for
        body = b"\n" * size
        client.send(head("PUT", path_of("feeds"), f"Content-Length: {size}"))
        client.send(body)
        assert client.answer().json == {"size": size}


def test_a_carriage_return_and_its_line_feed_may_come_apart(client: RawClient) -> None:
    request = head("GET", "/api/instance")
    for end in [end for end in range(len(request)) if request[end : end + 1] == b"\n"]:
        client.send(request[:end])
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(request[end:])
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"zz\r\n", id="no size"),
        pytest.param(b"-1\r\n", id="a size below nothing"),
        pytest.param(b"3\r\nabcdef\r\n0\r\n\r\n", id="longer than it says"),
        pytest.param(b"0x3\r\nabc\r\n0\r\n\r\n", id="a prefix"),
        pytest.param(b"3\nabc\n0\n\n" + b"x" * 9000, id="line feeds"),
        pytest.param(b"1" * 9000, id="a size without an end"),
    ],
)
def test_broken_chunks_are_refused_and_nothing_is_kept(service: Service, client: RawClient, body: bytes) -> None:
    client.send(chunked("broken") + body)
    answer = client.answer()
    assert (answer.status, answer.kind, answer.headers["Connection"]) == (400, "cut-off", "close")
    assert client.wait_for_close() == b""
    with Visitor(service.app_url) as visitor:
        assert visitor.get(path_of("broken")).status == 404


def test_chunks_are_taken_with_extensions_and_trailers(client: RawClient) -> None:
    client.send(chunked("chunks") + b'3;a="b"\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: v\r\n\r\n')
    answer = client.answer()
    assert (answer.status, answer.json["size"]) == (201, 5)
    client.send(head("GET", "/api/instance"))
    assert client.answer().status == 200


@pytest.mark.parametrize("filler", ["0", "1", " "], ids=["zeros", "digits", "spaces"])
def test_a_long_length_is_refused_in_no_time(service: Service, filler: str) -> None:
    """It is searched in the main thread. With a time that grows with the square, one such head stops all connections
    for half a minute."""
    with RawClient(service.app_url, timeout=15) as client:
        client.send(head("GET", "/", f"Content-Length: {filler * 60_000}x"))
        assert client.answer().status == 431


def test_a_length_may_begin_with_zeros(client: RawClient) -> None:
    """RFC 9110 §8.6: any number of digits."""
    client.send(head("PUT", path_of("a"), f"Content-Length: {5:030}") + b"hello")
    assert client.answer().json["size"] == 5


@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["", "after an empty line"])
def test_a_newer_client_gets_a_response_in_the_version_that_is_spoken_here(client: RawClient, before: bytes) -> None:
    """RFC 9110 §6.2: the answer has the highest version that the server conforms to, and not the client's.

    RFC 9112 §2.2: an empty line before the request is passed over.
    """
    client.send(before + b"GET /api/instance HTTP/1.9\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert client.wait_for_close().startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_old_client_is_served(client: RawClient) -> None:
    client.send(b"GET /api/instance HTTP/1.0\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert client.wait_for_close() == b""


def test_an_old_client_may_keep_its_connection(client: RawClient) -> None:
    for _ in range(2):
        client.send(b"GET /api/instance HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("options", ["close", "Close", "TE, close", "close , TE"])
def test_a_client_may_ask_for_the_end_of_its_connection_among_other_options(client: RawClient, options: str) -> None:
    """RFC 9110 §7.6.1: the header is a list."""
    client.send(head("GET", "/api/instance", f"Connection: {options}"))
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert client.wait_for_close() == b""


@pytest.mark.parametrize("options", ["\x85close", "close\xa0", "TE, \xa0close"])
def test_only_spaces_and_tabs_stand_around_an_option(client: RawClient, options: str) -> None:
    """RFC 9110 §5.6.3. The bytes 85 and A0 are white space to Python, and make another option here."""
    for _ in range(2):
        client.send(head("GET", "/api/instance", f"Connection: {options}"))
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")


def test_pipelined_requests_get_their_responses_in_order(client: RawClient) -> None:
    body = b'{"name": "Ada"}'
    sign_in = head("PUT", "/session", "Content-Type: application/json", f"Content-Length: {len(body)}") + body
    requests = [head("GET", "/api/instance"), sign_in, head("GET", "/nowhere"), head("HEAD", "/"), head("GET", "/")]
    for _ in range(20):
        client.send(b"".join(requests))
        instance, signed_in, nowhere = client.answer(), client.answer(), client.answer()
        assert (instance.status, signed_in.status, nowhere.status) == (200, 200, 404)
        assert signed_in.json == {"name": "Ada"}
        assert client.answer(method="HEAD").status == 200
        assert client.answer().status == 200


def test_a_pipelined_request_that_comes_in_two_parts_is_served(client: RawClient) -> None:
    request = head("GET", "/api/instance")
    client.send(request + request[:20])
    assert client.answer().status == 200
    client.send(request[20:])
    assert client.answer().status == 200


def test_a_small_body_that_is_expected_is_asked_for(client: RawClient) -> None:
    for _ in range(2):
        expecting = head(
            "PUT", "/session", "Content-Type: application/json", "Content-Length: 15", "Expect: 100-continue"
        )
        client.send(expecting)
        assert client.answer().status == 100
        client.send(b'{"name": "Ada"}')
        assert client.answer().status == 200  # and no second 100 before it


@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_large_body_that_is_expected_is_asked_for(client: RawClient, length: str) -> None:
    client.send(head("PUT", path_of("large"), length, "Expect: 100-continue"))
    assert client.answer().status == 100
    body = b"x" * 100_000
    client.send(b"186a0\r\n" + body + b"\r\n0\r\n\r\n" if "chunked" in length else body)
    assert client.answer().json["size"] == 100_000


@pytest.mark.parametrize("length", [MOST + 1, 10**18, 10**40], ids=["by one", "by far", "beyond any"])
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(client: RawClient, length: int) -> None:
    client.send(head("PUT", path_of("huge"), f"Content-Length: {length}", "Expect: 100-continue"))
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
    assert client.wait_for_close() == b""


def test_nothing_is_asked_for_where_the_body_is_empty(client: RawClient) -> None:
    client.send(head("PUT", path_of("empty"), "Content-Length: 0", "Expect: 100-continue"))
    assert client.answer().status == 201


@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["", "after an empty line"])
def test_an_old_clients_expectation_is_passed_over(service: Service, client: RawClient, before: bytes) -> None:
    """RFC 9110 §10.1.1: no 100 to an HTTP/1.0 client."""
    client.send(before + b"PUT /session HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 15\r\n")
    client.send(b"Expect: 100-continue\r\n\r\n")
    with Visitor(service.app_url) as other:
        assert other.get("/health").status == 200  # so the head, which came before, was read
    client.send(b'{"name": "Ada"}')
    assert client.answer().status == 200


@pytest.mark.parametrize("size", [1, 16_000, 16_385, 32_768, 40_000, 500_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_nobody_reads_does_not_cost_the_next_request(client: RawClient, size: int, framing: str) -> None:
    """Either the next request is answered, or the answer before it said that there would be none."""
    body = b"x" * size
    if framing == "length":
        client.send(head("POST", "/nowhere", f"Content-Length: {size}") + body)
    else:
        client.send(head("POST", "/nowhere", "Transfer-Encoding: chunked") + f"{size:x}\r\n".encode() + body)
        client.send(b"\r\n0\r\n\r\n")
    first = client.answer()
    assert first.status == 404
    if first.headers["Connection"] == "close":
        assert client.wait_for_close() == b""
    else:
        client.send(head("GET", "/api/instance"))
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "length",
    ["Content-Length: 20000", "Content-Length: 40000", f"Content-Length: {40000:030}", "Transfer-Encoding: chunked"],
)
def test_a_body_that_nobody_wants_is_not_waited_for(client: RawClient, length: str) -> None:
    """Waiting for it, only to throw it away, would hold a thread."""
    client.send(head("POST", "/visits", length))
    answer = client.answer()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert client.wait_for_close() == b""


def test_a_refused_body_that_is_still_coming_does_not_cost_the_response(client: RawClient) -> None:
    """The client sends on before it reads, more than the system would hold for it: closed at once, it would get a reset
    instead of the 413."""
    client.send(head("PUT", path_of("huge"), f"Content-Length: {MOST * 20}"))
    for _ in range(200):
        client.send(b"x" * (MOST // 10))
    assert client.answer().status == 413


def test_head_has_the_headers_of_get_and_no_body(client: RawClient) -> None:
    for path in ("/", "/api/instance", "/openapi.json", "/health", "/nowhere"):
        client.send(head("GET", path))
        get = client.answer()
        client.send(head("HEAD", path))
        answer = client.answer(method="HEAD")
        assert answer.status == get.status
        assert answer.headers["Content-Type"] == get.headers["Content-Type"]
        assert answer.headers["Content-Length"] == get.headers["Content-Length"]
    client.send(head("GET", "/api/instance", CLOSE))
    assert client.answer().status == 200
    assert client.wait_for_close() == b""  # nothing of a HEAD's body came late


def test_a_connection_lives_for_many_requests(client: RawClient) -> None:
    for _ in range(500):
        client.send(head("GET", "/api/instance"))
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")


def test_heads_are_held_in_little_memory(tmp_path: Path) -> None:
    """300 connections would say 700 KiB of a head each; together they cost a fraction of a small container."""
    with running_service(tmp_path, HEAD_TIMEOUT="300s") as service:
        before = service.memory
        clients = []
        for _ in range(300):
            client = RawClient(service.app_url)
            clients.append(client)
            with contextlib.suppress(OSError):  # it may be sent away before it has said all
                client.send(b"GET / HTTP/1.1\r\n" + (b"X-Long: " + b"v" * 8000 + b"\r\n") * 90)
        with Visitor(service.app_url) as visitor:
            assert visitor.get("/api/instance").status == 200
        grown = service.memory - before
        print(f"300 unfinished heads cost {grown / 2**20:.0f} MiB")
        for client in clients:
            client.close()
    assert grown < 60 * 2**20
